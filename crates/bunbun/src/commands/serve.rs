//! `bunbun serve`: production. Everything is configured, nothing is generated; PostgreSQL may
//! come up later.

use bunbun_core::shutdown::Shutdown;
use bunbun_http::slots::SlotMode;

use crate::{
    cli::{Global, ListenArguments},
    failure::Failure,
    printer::Printer,
    production,
    server::{self, Start},
    sources, telemetry,
};

/// Serves until a signal ends it.
pub(crate) fn run(
    global: &Global,
    listen: &ListenArguments,
    printer: &Printer,
) -> Result<(), Failure> {
    let sources = sources::read(global, Some(listen))?;
    let config = production::load(&sources)?;
    let _telemetry = telemetry::start(&config.telemetry)?;
    let runtime = super::server_runtime(config.server.workers)?;
    let ready = |address: std::net::SocketAddr| {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
        if printer.is_json() {
            printer.result(
                &serde_json::json!({ "address": address.to_string() }),
                String::new,
            );
        }
    };
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        server::stop_on_signals(&shutdown)?;
        server::run(Start {
            config,
            sources,
            config_file: sources::file(global),
            data_dir: ".bunbun".into(),
            postgres_mode: SlotMode::Remote,
            is_dev: false,
            shutdown,
            ready: Box::new(ready),
        })
        .await
    })
}
