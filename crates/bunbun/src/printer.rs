//! The only place that prints: results to stdout, talk to stderr.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;

/// Prints for a person or, with `--json`, for a program.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    color: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            color: io::stderr().is_terminal() && !no_color(),
        }
    }

    /// Whether results are wanted as JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// The result: `value` as JSON, or the text made by `text`.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            let line = serde_json::to_string(value).unwrap_or_default();
            out(&format!("{line}\n"));
        } else {
            out(&text());
        }
    }

    /// A result that is a text in itself, whatever was asked for.
    #[expect(clippy::unused_self, reason = "who prints has a printer")]
    pub(crate) fn raw(&self, text: &str) {
        out(text);
    }

    /// Says something to the person in front of the terminal.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Says why the command failed and what to do.
    pub(crate) fn failure(&self, failure: &Failure) {
        let (red, bold, reset) = if self.color {
            ("\x1b[31m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        match failure {
            _ if self.json => {
                let _ = writeln!(io::stderr(), "{}", as_json(failure));
            }
            Failure::Configuration(faults) => {
                let _ = writeln!(io::stderr(), "{red}error:{reset} {faults}");
            }
            Failure::Failed { problem, hint } => {
                let _ = writeln!(
                    io::stderr(),
                    "{red}error:{reset} {problem}\n{bold}hint:{reset} {hint}"
                );
            }
        }
    }
}

fn as_json(failure: &Failure) -> serde_json::Value {
    match failure {
        Failure::Configuration(_) => json!({ "error": {
            "problem": "the configuration has faults",
            "hint": "each fault has its own",
            "faults": failure.faults(),
        }}),
        Failure::Failed { problem, hint } => json!({ "error": {
            "problem": problem,
            "hint": hint,
        }}),
    }
}

/// What clap has to say: help and version to stdout, mistakes to stderr.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Whether the person wants no colours, as <https://no-color.org> has it.
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A reader that went away (`bunbun openapi | head`) is no reason to panic, as `print!` would.
fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}
