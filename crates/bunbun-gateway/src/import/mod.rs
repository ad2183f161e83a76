//! Translation of other gateways' configuration into `[gateway]`: pure functions, text in, a
//! [`GatewayConfig`] and a list of everything that has no counterpart out.
//!
//! A translation never guesses towards less security: where a rule that refuses requests cannot
//! be expressed, the route is refused to everyone and the list says so.

pub mod kong;

use std::fmt::Write as _;

use bunbun_core::config::GatewayConfig;
use serde::Serialize;

/// Something in the source that has no counterpart here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Untranslated {
    /// Where it stands, for example `services[rest].plugins[key-auth].config.anonymous`.
    pub path: String,
    /// What it means for the result.
    pub reason: String,
    /// What a person can do about it.
    pub hint: String,
}

/// A translated configuration.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The section `[gateway]`.
    pub config: GatewayConfig,
    /// Environment variables that belong to it, such as the URLs of the service slots. Never a
    /// secret.
    pub environment: Vec<(String, String)>,
    /// What was not translated.
    pub untranslated: Vec<Untranslated>,
}

/// Why a file cannot be translated at all. No variant carries text of the file: it may hold
/// secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The file is larger than is sensible.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It holds more of something than is sensible.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// It is no YAML, or nested or aliased beyond what is sensible.
    #[error("no usable YAML at line {line}, column {column}: {problem}")]
    Yaml {
        /// Line, from 1; 0 where unknown.
        line: u64,
        /// Column, from 1; 0 where unknown.
        column: u64,
        /// What kind of fault.
        problem: &'static str,
    },
    /// Its `_format_version` is none that is known.
    #[error("no declarative configuration of Kong: `_format_version` must be 1.1, 2.1 or 3.0")]
    FormatVersion,
    /// A value is of another shape than Kong accepts.
    #[error("{path}: expected {expected}")]
    Shape {
        /// Where.
        path: String,
        /// What Kong accepts there.
        expected: &'static str,
    },
    /// A name or id that must be unique is not.
    #[error("{path}: another one has the same name")]
    Duplicate {
        /// Where the second one stands.
        path: String,
    },
    /// A reference to something that is not in the file.
    #[error("{path}: refers to something that is not in the file")]
    Reference {
        /// Where the reference stands.
        path: String,
    },
}

#[derive(Serialize)]
struct File<'c> {
    gateway: &'c GatewayConfig,
}

impl Imported {
    /// The configuration as a `bunbun.toml`; environment and untranslated parts as comments at
    /// its head.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Translated by `bunbun import`. Paths match by whole segments: /a matches /a and\n\
             # /a/b, but not /ab.\n",
        );
        if !self.environment.is_empty() {
            text.push_str("#\n# Environment:\n");
            for (name, value) in &self.environment {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "#   {name}={}", one_line(value));
            }
        }
        if !self.untranslated.is_empty() {
            text.push_str("#\n# Not translated:\n");
            for entry in &self.untranslated {
                let (path, reason) = (one_line(&entry.path), one_line(&entry.reason));
                let _ = writeln!(text, "#   {path}: {reason}");
                let _ = writeln!(text, "#     -> {}", one_line(&entry.hint));
            }
        }
        text.push('\n');
        let body = toml::to_string(&File {
            gateway: &self.config,
        });
        text.push_str(&body.expect("GatewayConfig has string keys and no values TOML lacks"));
        text
    }
}

/// Text for a comment: nothing in it can end the line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .collect()
}

/// Whether a character shows as itself and ends no line: neither a control character nor one
/// of Unicode's line ends and direction overrides.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}'
        )
        && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
