//! The two listeners: the API, and the one for metrics and health.
//!
//! One port serves gRPC, gRPC-Web, reflection (v1 and v1alpha) and the standard health service.
//! Layers, from the outside: resets, CORS, gRPC-Web, trace, metrics, authentication; so that a refusal is
//! counted, traced and translated like any other answer.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use banger_proto::resets::ResetsAreErrors;
use banger_proto::service::calls::CallsLayer;
use banger_proto::v1::host_service_server::HostServiceServer;
use banger_proto::v1::image_service_server::ImageServiceServer;
use banger_proto::v1::{host_service_server, image_service_server, vm_service_server};
use banger_proto::wire::limits;
use banger_proto::wire::tls::{Admit, listen};
use banger_proto::wire::trace::ServerTraceLayer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::connections::cuttable;
use crate::api::Api;
use crate::api::auth::AuthLayer;
use crate::api::hosts::Hosts;
use crate::api::images::Images;
use crate::api::vms::Vms;
use crate::api::watch::VmServiceWithWatch;
use crate::metrics::Metrics;
use crate::watch::View;

/// The services that reflection lists: those served here, not all that there are descriptors of.
const SERVICES: [&str; 6] = [
    vm_service_server::SERVICE_NAME,
    host_service_server::SERVICE_NAME,
    image_service_server::SERVICE_NAME,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// What the API listener is made of.
pub(super) struct ApiListener {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    pub(super) api: Api,
    pub(super) auth: AuthLayer,
    pub(super) metrics: Metrics,
    pub(super) cors_origins: Vec<HeaderValue>,
    /// No further connections, and those that are there end when their calls do.
    pub(super) stop: CancellationToken,
    /// All connections end now.
    pub(super) cut: CancellationToken,
}

fn reflection<'b>() -> tonic_reflection::server::Builder<'b> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(banger_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Without these, clients show the details of errors undecoded.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
        .include_reflection_service(false);
    SERVICES.into_iter().fold(builder, tonic_reflection::server::Builder::with_service_name)
}

fn routes(api: &Api) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let hosts = HostServiceServer::new(Hosts::new(api.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limits::MAX_REQUEST_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let images = ImageServiceServer::new(Images::new(api.clone()))
        .max_decoding_message_size(limits::MAX_UPLOAD_MESSAGE_BYTES)
        .max_encoding_message_size(limits::MAX_MESSAGE_BYTES);
    let vms = VmServiceWithWatch::new(Arc::new(Vms::new(api.clone())), api.clone());
    let routes = Routes::new(vms)
        .add_service(hosts)
        .add_service(images)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok((routes, health))
}

fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    let header = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            header("x-grpc-web"),
            header("x-user-agent"),
            header("grpc-timeout"),
            header("traceparent"),
            header("connect-protocol-version"),
        ])
        .expose_headers([
            header("grpc-status"),
            header("grpc-message"),
            header("grpc-status-details-bin"),
        ])
}

/// Serves the API until it is stopped and its calls have ended, or it is cut.
pub(super) async fn serve_api(
    parts: ApiListener,
) -> Result<JoinHandle<()>, tonic_reflection::server::Error> {
    let ApiListener { listener, tls, api, auth, metrics, cors_origins, stop, cut } = parts;
    let (routes, health) = routes(&api)?;
    for service in &SERVICES[..3] {
        health.set_service_status(*service, tonic_health::ServingStatus::Serving).await;
    }
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(limits::MAX_CONCURRENT_STREAMS)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .layer(ResetsAreErrors)
        .layer(cors(cors_origins))
        .layer(GrpcWebLayer::new())
        .layer(ServerTraceLayer)
        .layer(CallsLayer::new(metrics.calls()))
        .layer(auth)
        .add_routes(routes);
    let not_serving = {
        let view = Arc::clone(&api.view);
        async move {
            view.draining().await;
            for service in SERVICES[..3].iter().copied().chain([""]) {
                health.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
            }
        }
    };
    tokio::spawn(not_serving);
    Ok(tokio::spawn(async move {
        let stopped = stop.cancelled_owned();
        let served = match tls {
            None => {
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                server.serve_with_incoming_shutdown(cuttable(incoming, cut), stopped).await
            }
            Some(config) => {
                let incoming = listen(listener, config, Admit::Anybody);
                server.serve_with_incoming_shutdown(cuttable(incoming, cut), stopped).await
            }
        };
        if let Err(error) = served {
            tracing::error!(error = %error, "the API listener failed");
        }
    }))
}

// === metrics and health ===

#[derive(Clone)]
struct Page {
    metrics: Metrics,
    view: Arc<View>,
    stop: CancellationToken,
}

/// Serves `/metrics`, `/healthz` and `/readyz` until it is stopped.
pub(super) fn serve_metrics(
    listener: TcpListener,
    metrics: Metrics,
    view: Arc<View>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let page = Page { metrics, view, stop: stop.clone() };
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready_page))
        .with_state(page);
    tokio::spawn(async move {
        // Not waiting for its connections: nothing here is worth it.
        let served: Option<io::Result<()>> =
            stop.run_until_cancelled_owned(axum::serve(listener, router).into_future()).await;
        if let Some(Err(error)) = served {
            tracing::error!(error = %error, "the metrics listener failed");
        }
    })
}

async fn metrics_page(State(page): State<Page>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page.metrics.render(&page.view)).into_response()
}

/// Ready from the moment it listens, since everything stored is loaded by then, until it drains.
async fn ready_page(State(page): State<Page>) -> Response {
    if page.stop.is_cancelled() || page.view.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    "ready\n".into_response()
}
