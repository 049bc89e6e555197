//! The two listeners: the API, and the one for metrics and health.
//!
//! One port serves gRPC, gRPC-Web, reflection (v1 and v1alpha), the standard health service and the
//! dashboard. Both listeners are the edge's ([`banger_wire::service::edge`]), which bounds
//! connections and what they hold. Layers of the API, from the outside: resets, gate (hosts,
//! origins, content types), CORS, gRPC-Web, trace, metrics, reasons of errors, deadlines,
//! authentication, bounds of requests; so that a refusal is counted, traced and translated like any
//! other answer.

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use banger_proto::bounds;
use banger_proto::v1::audit_service_server::AuditServiceServer;
use banger_proto::v1::image_service_server::ImageServiceServer;
use banger_proto::v1::project_service_server::ProjectServiceServer;
use banger_proto::v1::token_service_server::TokenServiceServer;
use banger_proto::v1::{
    audit_service_server, host_service_server, image_service_server, project_service_server,
    token_service_server, vm_service_server, watch_service_server,
};
use banger_wire::resets::ResetsAreErrors;
use banger_wire::service::calls::CallsLayer;
use banger_wire::service::edge::bodies::{BodiesLayer, Most};
use banger_wire::service::edge::deadlines::DeadlinesLayer;
use banger_wire::service::edge::gate::{GateLayer, Serves};
use banger_wire::service::edge::places::Room;
use banger_wire::service::edge::reasons::ReasonsLayer;
use banger_wire::service::edge::refusal::Refuse;
use banger_wire::service::edge::serve::{Bounds, Listener, Tls, serve};
use banger_wire::service::edge::visitors::Visitors;
use banger_wire::tls::Admit;
use banger_wire::trace::ServerTraceLayer;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower::{Service, ServiceBuilder};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::pages::{self, BrowserPages, Front};
use crate::api::Api;
use crate::api::audit::Audits;
use crate::api::auth::AuthLayer;
use crate::api::hosts::Hosts;
use crate::api::images::ImageApi;
use crate::api::projects::Projects;
use crate::api::status;
use crate::api::tokens::Tokens;
use crate::api::vms::Vms;
use crate::api::watch::{host_service, vm_service, watch_service};
use crate::config::ServerConfig;
use crate::metrics::{API_DESCRIPTORS, Metrics};
use crate::watch::View;

/// The services that reflection lists: those served here, not all that there are descriptors of.
const SERVICES: [&str; 10] = [
    vm_service_server::SERVICE_NAME,
    host_service_server::SERVICE_NAME,
    image_service_server::SERVICE_NAME,
    token_service_server::SERVICE_NAME,
    audit_service_server::SERVICE_NAME,
    project_service_server::SERVICE_NAME,
    watch_service_server::SERVICE_NAME,
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// How many of them, the first, are banger's.
const OURS: usize = 7;

/// What the API listener is made of.
pub(super) struct ApiListener {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    pub(super) bounds: Bounds,
    pub(super) outside: Outside,
    pub(super) api: Api,
    pub(super) auth: AuthLayer,
    pub(super) metrics: Metrics,
    /// No further connections, and those that are there end when their calls do.
    pub(super) stop: CancellationToken,
    /// All connections end now.
    pub(super) cut: CancellationToken,
}

/// From where requests may come.
pub(super) struct Outside {
    pub(super) visitors: Arc<ArcSwap<Visitors>>,
    pub(super) origins: Vec<HeaderValue>,
}

/// One party has at most one in so many of all connections.
const PARTIES: usize = 4;

/// What the API's listener bears. Half of the files that may be open are left for everything else:
/// the store, images, and the links to agents above all.
pub(super) fn bounds(config: &ServerConfig) -> Bounds {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let connections = config.limits.max_connections.min(files / 2).max(1);
    Bounds::of(Room {
        connections,
        per_address: config.limits.max_connections_per_address,
        unproven: (connections / 2).clamp(1, 256),
        per_party: (connections / PARTIES).max(1),
    })
}

/// How the edge builds an error.
const REFUSE: Refuse = status::of_the_edge;

const MOST: Most =
    Most { request: bounds::MAX_REQUEST_BYTES, message: bounds::MAX_UPLOAD_MESSAGE_BYTES };

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

fn routes(
    api: &Api,
    auth: &AuthLayer,
) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let hosts = host_service(Hosts::new(api.clone()), api.clone());
    let images = ImageServiceServer::new(ImageApi::new(api.clone()))
        .max_decoding_message_size(bounds::MAX_UPLOAD_MESSAGE_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
    let tokens = TokenServiceServer::new(Tokens::new(api.clone(), auth.identities()))
        .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
    let audit = AuditServiceServer::new(Audits::new(api.clone()))
        .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
    let projects = ProjectServiceServer::new(Projects::new(api.clone(), auth.parties()))
        .max_decoding_message_size(bounds::MAX_REQUEST_BYTES)
        .max_encoding_message_size(bounds::MAX_MESSAGE_BYTES);
    let vms = vm_service(Arc::new(Vms::new(api.clone())), api.clone());
    let routes = Routes::new(vms)
        .add_service(hosts)
        .add_service(images)
        .add_service(tokens)
        .add_service(audit)
        .add_service(projects)
        .add_service(watch_service(api.clone()))
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

/// The API as a service: see the head of this file for the order of its layers.
fn service(
    parts: Outside,
    routes: Routes,
    auth: AuthLayer,
    metrics: &Metrics,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ 'static {
    let calls = ServiceBuilder::new()
        .layer(cors(parts.origins))
        .layer(GrpcWebLayer::new())
        .layer(ServerTraceLayer)
        .layer(CallsLayer::new(metrics.calls()))
        .layer(ReasonsLayer(REFUSE))
        .layer(DeadlinesLayer(REFUSE))
        .layer(auth)
        .layer(BodiesLayer::new(&API_DESCRIPTORS, MOST, REFUSE))
        .service(routes.prepare());
    ServiceBuilder::new()
        .layer(ResetsAreErrors)
        .layer(GateLayer {
            visitors: parts.visitors,
            serves: Serves::CallsAndPages,
            refuse: REFUSE,
        })
        .service(Front { calls, pages: BrowserPages(pages::router()) })
}

/// Serves the API until it is stopped and its calls have ended, or it is cut.
pub(super) async fn serve_api(
    parts: ApiListener,
) -> Result<JoinHandle<()>, tonic_reflection::server::Error> {
    let ApiListener { listener, tls, bounds, outside, api, auth, metrics, stop, cut } = parts;
    let (routes, health) = routes(&api, &auth)?;
    for service in &SERVICES[..OURS] {
        health.set_service_status(*service, tonic_health::ServingStatus::Serving).await;
    }
    let not_serving = {
        let view = Arc::clone(&api.view);
        async move {
            view.draining().await;
            for service in SERVICES[..OURS].iter().copied().chain([""]) {
                health.set_service_status(service, tonic_health::ServingStatus::NotServing).await;
            }
        }
    };
    tokio::spawn(not_serving);
    let tls = tls.map(|config| Tls { config, admit: Admit::Anybody });
    let listener = Listener { accept: listener, tls, bounds, stop, cut };
    Ok(serve(listener, service(outside, routes, auth, &metrics)))
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
    visitors: Arc<ArcSwap<Visitors>>,
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
    let gate = GateLayer { visitors, serves: Serves::Pages, refuse: REFUSE };
    let room = Room { connections: 256, per_address: 128, unproven: 64, per_party: 256 };
    let listener = Listener {
        accept: listener,
        tls: None,
        // A scraper asks for one page at a time; each page is made as a whole.
        bounds: Bounds { streams: 8, ..Bounds::of(room) },
        // Not waiting for its connections: nothing here is worth it.
        stop: stop.clone(),
        cut: stop,
    };
    serve(listener, ServiceBuilder::new().layer(gate).service(BrowserPages(router)))
}

async fn metrics_page(State(page): State<Page>) -> axum::response::Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page.metrics.render(&page.view)).into_response()
}

/// Ready from the moment it listens, since everything stored is loaded by then, until it drains.
async fn ready_page(State(page): State<Page>) -> axum::response::Response {
    if page.stop.is_cancelled() || page.view.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    "ready\n".into_response()
}
