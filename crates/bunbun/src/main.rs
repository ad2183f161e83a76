//! The binary `bunbun`: reads the command line, runs one command, and says how it went.

mod cli;
mod commands;
mod configuration_reference;
mod connections;
mod failure;
mod gateway;
mod printer;
mod production;
mod reload;
mod server;
mod services;
mod sources;
mod storage;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{cli::Cli, printer::Printer};

// The system's allocator keeps more memory under many connections and is slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    avoid_huge_pages();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return printer::usage(&error),
    };
    let printer = Printer::new(cli.global.json);
    match commands::run(cli, &printer) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit_code()
        }
    }
}

/// The allocator asks for huge pages, of which a few half-used ones cost more memory than
/// everything that BunBun keeps while it is idle.
fn avoid_huge_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
