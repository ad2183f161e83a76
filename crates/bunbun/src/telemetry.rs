//! Logs to stderr, and where configured traces over OTLP and error reports to Sentry.

use std::{
    io::{self, IsTerminal as _},
    sync::Arc,
};

use bunbun_core::config::{LogFormat, TelemetryConfig};
use bunbun_gateway::edge::RequestTraces;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{failure::Failure, printer};

/// Libraries that say at `info` what is news to nobody. LOG may name them and beats this.
const QUIET: &str = "refinery_core=warn,tokio_postgres=warn,deadpool=error";

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Keeps the exporters; when it is dropped they send what they still have.
#[must_use]
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    traces: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
    #[cfg(feature = "sentry")]
    _sentry: Option<sentry::ClientInitGuard>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        #[cfg(feature = "otlp")]
        if let Some(traces) = &self.traces {
            // An unreachable collector is no reason to fail at the end.
            let _ = traces.shutdown();
        }
    }
}

/// Starts logging. To be called outside of a runtime: the exporters bring their own threads.
///
/// # Errors
/// When a setting cannot be used, or this build lacks what it needs.
pub(crate) fn start(config: &TelemetryConfig) -> Result<Telemetry, Failure> {
    #[cfg_attr(
        not(any(feature = "otlp", feature = "sentry")),
        expect(unused_mut, reason = "no feature adds a layer")
    )]
    let mut layers: Vec<BoxedLayer> = vec![logs(config)?];
    #[cfg(feature = "otlp")]
    let traces = match &config.otlp_endpoint {
        Some(endpoint) => {
            let (layer, provider) = otlp::layer(endpoint)?;
            layers.push(layer);
            Some(provider)
        }
        None => None,
    };
    #[cfg(not(feature = "otlp"))]
    refuse(
        config.otlp_endpoint.is_some(),
        "telemetry.otlp_endpoint",
        "otlp",
    )?;
    #[cfg(feature = "sentry")]
    let sentry = match &config.sentry_dsn {
        Some(dsn) => {
            let guard = error_reports::start(dsn)?;
            layers.push(error_reports::layer());
            Some(guard)
        }
        None => None,
    };
    #[cfg(not(feature = "sentry"))]
    refuse(
        config.sentry_dsn.is_some(),
        "telemetry.sentry_dsn",
        "sentry",
    )?;
    // Only the first subscriber of a process counts; there is no second one here.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Ok(Telemetry {
        #[cfg(feature = "otlp")]
        traces,
        #[cfg(feature = "sentry")]
        _sentry: sentry,
    })
}

fn logs(config: &TelemetryConfig) -> Result<BoxedLayer, Failure> {
    let filter = format!("{QUIET},{}", config.log);
    let filter: EnvFilter = filter.parse().map_err(|error| {
        let hint = "LOG is for example info, or warn,bunbun_gateway=debug";
        Failure::because("the log filter cannot be used", &error, hint)
    })?;
    let terminal = io::stderr().is_terminal();
    let pretty = match config.log_format {
        LogFormat::Pretty => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let layer = fmt::layer().with_writer(io::stderr);
    Ok(if pretty {
        let color = terminal && !printer::no_color();
        layer
            .with_ansi(color)
            .with_target(false)
            .with_filter(filter)
            .boxed()
    } else {
        layer
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_filter(filter)
            .boxed()
    })
}

#[cfg(not(all(feature = "otlp", feature = "sentry")))]
fn refuse(is_set: bool, path: &str, feature: &str) -> Result<(), Failure> {
    if is_set {
        let problem = format!("{path} is set, but this build has no {feature}");
        return Err(Failure::new(
            problem,
            format!("build with --features {feature}"),
        ));
    }
    Ok(())
}

/// What makes a span for each request, where traces are exported.
pub(crate) fn request_traces(config: &TelemetryConfig) -> Option<Arc<dyn RequestTraces>> {
    #[cfg(feature = "otlp")]
    if config.otlp_endpoint.is_some() {
        return Some(Arc::new(otlp::Requests::default()));
    }
    let _ = config;
    None
}

#[cfg(feature = "otlp")]
mod otlp {
    //! Traces over OTLP/HTTP.

    use std::collections::HashMap;

    use bunbun_gateway::edge::RequestTraces;
    use http::{HeaderValue, Method};
    use opentelemetry::{propagation::TextMapPropagator as _, trace::TracerProvider as _};
    use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
    use opentelemetry_sdk::{
        Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider,
    };
    use tracing::field::Empty;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    use tracing_subscriber::{Layer as _, filter::LevelFilter};
    use url::Url;

    use super::BoxedLayer;
    use crate::failure::Failure;

    const TRACEPARENT: &str = "traceparent";

    /// Makes a span per request below the client's own.
    #[derive(Default)]
    pub(super) struct Requests(TraceContextPropagator);

    impl RequestTraces for Requests {
        fn begin(
            &self,
            method: &Method,
            client: Option<&HeaderValue>,
        ) -> (tracing::Span, Option<HeaderValue>) {
            let span = tracing::info_span!(
                "request",
                otel.kind = "server",
                http.request.method = %method,
                http.route = Empty,
                url.path = Empty,
                http.response.status_code = Empty,
            );
            if let Some(client) = client.and_then(|value| value.to_str().ok()) {
                let carrier = HashMap::from([(TRACEPARENT.to_owned(), client.to_owned())]);
                // Fails only where no exporter listens, and then there is nothing to set.
                let _ = span.set_parent(self.0.extract(&carrier));
            }
            let mut below = HashMap::new();
            self.0.inject_context(&span.context(), &mut below);
            let context = below
                .remove(TRACEPARENT)
                .and_then(|text| HeaderValue::try_from(text).ok());
            (span, context)
        }
    }

    pub(super) fn layer(endpoint: &Url) -> Result<(BoxedLayer, SdkTracerProvider), Failure> {
        // The variable names the base; the signal's path follows it, as the specification has it.
        let base = endpoint.as_str().trim_end_matches('/');
        let url = if base.ends_with("/v1/traces") {
            base.to_owned()
        } else {
            format!("{base}/v1/traces")
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .build()
            .map_err(|error| {
                let hint = "OTEL_EXPORTER_OTLP_ENDPOINT is for example http://collector:4318";
                Failure::because("traces cannot be exported", &error, hint)
            })?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name("bunbun").build())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bunbun"));
        Ok((layer.with_filter(LevelFilter::INFO).boxed(), provider))
    }
}

#[cfg(feature = "sentry")]
mod error_reports {
    //! Errors and panics to Sentry.

    use std::str::FromStr as _;

    use secrecy::{ExposeSecret as _, SecretString};
    use sentry::{ClientInitGuard, ClientOptions, integrations::tracing::ErrorLayer, types::Dsn};
    use tracing_subscriber::{Layer as _, filter::LevelFilter};

    use super::BoxedLayer;
    use crate::failure::Failure;

    pub(super) fn start(dsn: &SecretString) -> Result<ClientInitGuard, Failure> {
        let dsn = Dsn::from_str(dsn.expose_secret()).map_err(|_| {
            let hint = "SENTRY_DSN is https://KEY@HOST/PROJECT";
            Failure::new("telemetry.sentry_dsn (SENTRY_DSN) cannot be used", hint)
        })?;
        let mut options = ClientOptions::new()
            .release(env!("CARGO_PKG_VERSION"))
            // No addresses, cookies or headers of users.
            .send_default_pii(false);
        options.dsn = Some(dsn);
        Ok(sentry::init(options))
    }

    pub(super) fn layer() -> BoxedLayer {
        ErrorLayer::new().with_filter(LevelFilter::ERROR).boxed()
    }
}
