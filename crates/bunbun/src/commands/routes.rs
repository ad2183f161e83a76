//! `bunbun routes`: the route table as data.

use bunbun_core::config::{Config, GatewayConfig};
use serde::Serialize;

use crate::{cli::Global, failure::Failure, printer::Printer, sources};

#[derive(Serialize)]
struct File<'c> {
    gateway: &'c GatewayConfig,
}

/// Prints the built-in routes together with those of the configuration.
pub(crate) fn run(global: &Global, printer: &Printer) -> Result<(), Failure> {
    let config = Config::load(&sources::without_keys(sources::read(global, None)?))?;
    let gateway = bunbun_gateway::route::profile::with(&config.gateway);
    let file = File { gateway: &gateway };
    let text = toml::to_string(&file).map_err(|error| {
        Failure::because(
            "the routes cannot be shown",
            &error,
            "this is a fault of BunBun",
        )
    })?;
    printer.result(&file, || text);
    Ok(())
}
