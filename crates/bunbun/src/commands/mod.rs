//! One file per command.

mod config;
mod dev;
mod import;
mod keys;
mod migrate;
mod openapi;
mod routes;
mod serve;

use crate::{
    cli::{Cli, Command, ConfigCommand, ImportCommand, KeysCommand},
    failure::Failure,
    printer::Printer,
};

/// Runs the command to its end.
pub(crate) fn run(cli: Cli, printer: &Printer) -> Result<(), Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Dev(arguments) => dev::run(global, &arguments, printer),
        Command::Serve(arguments) => serve::run(global, &arguments, printer),
        Command::Migrate => migrate::run(global, printer),
        Command::Keys {
            command: KeysCommand::Generate,
        } => {
            keys::generate(printer);
            Ok(())
        }
        Command::Keys {
            command: KeysCommand::Rotate,
        } => keys::rotate(global, printer),
        Command::Config {
            command: ConfigCommand::Check,
        } => config::check(global, printer),
        Command::Openapi(arguments) => openapi::run(&arguments, printer),
        Command::Routes(arguments) => routes::run(global, &arguments, printer),
        Command::Import {
            command: ImportCommand::Kong { file },
        } => import::kong(&file, printer),
    }
}

/// A runtime for a command that does little.
fn small_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| no_runtime(&error))
}

/// The runtime of a server; 0 workers: one per core.
fn server_runtime(workers: usize) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    builder
        .thread_name("bunbun")
        .enable_all()
        .build()
        .map_err(|error| no_runtime(&error))
}

fn no_runtime(error: &std::io::Error) -> Failure {
    let hint = "the system's limits on threads and open files may be too low (ulimit -a)";
    Failure::because("no threads can be started", error, hint)
}
