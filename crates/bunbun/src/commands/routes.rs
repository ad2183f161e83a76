//! `bunbun routes`: the route table as data, and the endpoints that lie behind the route `/api`.

use std::fmt::Write as _;

use bunbun_core::config::{Config, GatewayConfig};
use serde::Serialize;
use serde_json::Value;

use crate::{
    cli::{Global, RoutesArguments},
    failure::Failure,
    printer::Printer,
    sources,
};

#[derive(Serialize)]
struct File<'c> {
    gateway: &'c GatewayConfig,
}

/// Prints the built-in routes together with those of the configuration.
pub(crate) fn run(
    global: &Global,
    arguments: &RoutesArguments,
    printer: &Printer,
) -> Result<(), Failure> {
    if arguments.api {
        let endpoints = endpoints();
        printer.result(&endpoints, || table(&endpoints));
        return Ok(());
    }
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

/// One operation of BunBun's own API.
#[derive(Serialize)]
struct Endpoint {
    method: String,
    path: String,
    summary: String,
}

/// All of them, in the order of their paths, from the OpenAPI document.
fn endpoints() -> Vec<Endpoint> {
    let document = serde_json::to_value(bunbun_api::document()).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let endpoint = |path: &str, method: &str, operation: &Value| {
        let summary = operation["summary"].as_str()?.to_owned();
        Some(Endpoint {
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary,
        })
    };
    paths
        .flat_map(|(path, item)| {
            let operations = item.as_object().into_iter().flatten();
            operations.filter_map(move |(method, operation)| endpoint(path, method, operation))
        })
        .collect()
}

fn table(endpoints: &[Endpoint]) -> String {
    let width = endpoints.iter().map(|one| one.path.len()).max();
    let width = width.unwrap_or_default();
    endpoints.iter().fold(String::new(), |mut text, one| {
        let Endpoint {
            method,
            path,
            summary,
        } = one;
        let _ = writeln!(text, "{method:6} {path:width$} {summary}");
        text
    })
}
