//! The command line.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// API gateway, unified API and embedded services in front of PostgreSQL, in one process.
#[derive(Debug, Parser)]
#[command(
    name = "bunbun",
    version,
    max_term_width = 100,
    after_help = "Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong \
                  usage or configuration.\nSettings: docs/configuration.md"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print results, and errors, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The configuration file; default: bunbun.toml, where there is one
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BUNBUN_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a complete backend on this machine, with its own PostgreSQL and generated keys
    Dev(DevArguments),
    /// Start in production: everything configured, nothing generated
    Serve(ListenArguments),
    /// Bring the control plane's database up to date
    Migrate,
    /// Make keys
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the OpenAPI document of BunBun's own endpoints
    Openapi(OpenapiArguments),
    /// Print the gateway's routes: the built-in ones and those of the configuration
    Routes(RoutesArguments),
    /// Translate another gateway's configuration
    Import {
        #[command(subcommand)]
        command: ImportCommand,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RoutesArguments {
    /// The endpoints of BunBun's own API instead: method, path and what they do
    #[arg(long)]
    pub(crate) api: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListenArguments {
    /// Address to listen on
    #[arg(long)]
    pub(crate) host: Option<IpAddr>,
    /// Port to listen on; 0 picks a free one
    #[arg(long)]
    pub(crate) port: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    #[command(flatten)]
    pub(crate) listen: ListenArguments,
    /// Where data and generated keys lie
    #[arg(long, value_name = "DIR", default_value = ".bunbun")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Print a complete new set of secrets as lines of an environment file
    Generate,
    /// Wrap stored data keys with the current master key instead of the previous one, while servers run
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with the configuration of `bunbun serve`
    Check,
}

#[derive(Debug, Args)]
pub(crate) struct OpenapiArguments {
    /// Write openapi/, docs/api/ and docs/configuration.md below DIR instead
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".")]
    pub(crate) write: Option<PathBuf>,
    /// Say which of these files below DIR are not current
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with = "write")]
    pub(crate) check: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Translate a declarative configuration of Kong into the section `gateway`
    Kong {
        /// The kong.yml
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
