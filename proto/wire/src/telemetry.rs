//! Where a process sends its log and its spans.
//!
//! `main` of server, agent and command call [`init`] once and keep the guard: dropping it flushes
//! what the exporter still holds. The log goes to standard error, as text or as JSON lines; spans
//! go to an OTLP endpoint when one is configured and nowhere otherwise.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// How long the last spans may take on their way out when a process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The `[telemetry]` section of the configuration of server and agent: log and traces.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// What is logged: directives of tracing's `EnvFilter`, such as "info,banger_server=debug".
    /// `RUST_LOG` in the environment wins.
    pub log_filter: String,
    /// Where spans are exported, OTLP over gRPC, such as `http://127.0.0.1:4317`.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log_format: LogFormat::Text, log_filter: "info".to_owned(), otlp_endpoint: None }
    }
}

impl TelemetryConfig {
    fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        let environment = std::env::var("RUST_LOG").ok().filter(|value| !value.is_empty());
        let filter = environment.unwrap_or_else(|| self.log_filter.clone());
        EnvFilter::try_new(&filter).map_err(|source| TelemetryError::Filter { filter, source })
    }

    /// Whether [`init`] can go by it.
    ///
    /// # Errors
    /// A bad filter or a bad endpoint.
    pub fn check(&self) -> Result<(), TelemetryError> {
        self.filter()?;
        if let Some(endpoint) = &self.otlp_endpoint {
            endpoint.parse::<http::Uri>().map_err(|source| TelemetryError::Endpoint {
                endpoint: endpoint.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Returned by [`init`].
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("the log filter {filter:?} is not valid")]
    Filter {
        /// As given.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The endpoint is no address.
    #[error("{endpoint:?} of otlp_endpoint is no URL")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// Why.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// The exporter can't be made.
    #[error("cannot export spans to {endpoint}")]
    Exporter {
        /// As given.
        endpoint: String,
        /// Why.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// A subscriber is there already.
    #[error("telemetry was set up twice in this process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Flushes the exporter when dropped.
#[derive(Debug)]
#[must_use = "spans are flushed when this is dropped"]
pub struct TelemetryGuard {
    provider: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // Nothing can be done about spans that do not get out in time; the log is complete.
            let _ = provider.shutdown_with_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Sets up log and spans for this process, whose `service.name` in the spans is the name given,
/// such as "banger-server". Needs a tokio runtime when an endpoint is given.
///
/// # Errors
/// A bad filter, a bad endpoint, or a second call.
pub fn init(
    service_name: &'static str,
    config: TelemetryConfig,
) -> Result<TelemetryGuard, TelemetryError> {
    config.check()?;
    let filter = config.filter()?;
    let log = match config.log_format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            fmt::layer().with_writer(std::io::stderr).with_ansi(colours).boxed()
        }
        LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
    };
    let provider = match config.otlp_endpoint {
        None => None,
        Some(endpoint) => {
            let exporter = opentelemetry_otlp::SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint.clone())
                .build()
                .map_err(|source| TelemetryError::Exporter { endpoint, source })?;
            let resource = Resource::builder().with_service_name(service_name).build();
            Some(
                SdkTracerProvider::builder()
                    .with_batch_exporter(exporter)
                    .with_resource(resource)
                    .build(),
            )
        }
    };
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("banger")));
    tracing_subscriber::registry()
        .with(filter)
        .with(log)
        .with(spans)
        .try_init()
        .map_err(TelemetryError::Twice)?;
    Ok(TelemetryGuard { provider })
}
