//! Reads settings out of their layers and collects every fault instead of stopping at the first.

use std::{collections::HashMap, fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::{
    ByteSize, HumanDuration, LogFormat,
    settings::{self, SETTINGS},
};
use crate::{egress::EgressRule, secret};

/// Variables that people have under another name as well.
const ALIASES: &[(&str, &str)] = &[
    ("SUPABASE_SERVICE_KEY", "SERVICE_ROLE_KEY"),
    ("URI_ALLOW_LIST", "ADDITIONAL_REDIRECT_URLS"),
    ("MAILER_AUTOCONFIRM", "ENABLE_EMAIL_AUTOCONFIRM"),
];

/// Where settings come from, lowest layer first: file, environment, flags.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The parsed `bunbun.toml`.
    pub file: toml::Table,
    /// The environment. Empty values count as unset, as compose files produce them.
    pub env: HashMap<String, String>,
    /// Command-line flags by setting path.
    pub flags: HashMap<&'static str, String>,
}

impl Sources {
    /// The text of a setting from the highest layer that has it, its default included, before
    /// any validation; `None` where it is unset or no setting.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<String> {
        let setting = settings::find(path)?;
        self.above_file(setting)
            .or_else(|| lookup(&self.file, path).and_then(as_text))
            .or_else(|| Some(setting.default.to_owned()))
            .filter(|text| !text.is_empty())
    }

    /// Whether any layer sets this, its default aside.
    #[must_use]
    pub fn is_set(&self, path: &str) -> bool {
        settings::find(path).is_some_and(|setting| {
            self.above_file(setting).is_some() || lookup(&self.file, path).is_some()
        })
    }

    /// The text of a setting from the flags or the environment.
    fn above_file(&self, setting: &settings::Setting) -> Option<String> {
        let env = |name: &str| self.env.get(name).filter(|text| !text.is_empty()).cloned();
        self.flags
            .get(setting.path)
            .cloned()
            .or_else(|| env(setting.env))
            .or_else(|| {
                // The name that the original stack's own .env uses.
                let (_, alias) = ALIASES.iter().find(|(name, _)| *name == setting.env)?;
                env(alias)
            })
    }
}

/// Something wrong in the configuration, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// Where: a setting's path or environment name.
    pub at: String,
    /// What is wrong. Never contains a secret's value.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    hint: {}", self.at, self.problem, self.hint)
    }
}

/// Everything that is wrong, all at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = if self.0.len() == 1 { "fault" } else { "faults" };
        write!(f, "the configuration has {} {many}", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// A type of settings, with how its values are written.
pub(super) trait Written: FromStr {
    /// What to write, for a hint.
    const WRITE: &'static str;
}

macro_rules! written {
    ($($kind:ty: $text:literal,)*) => {
        $(impl Written for $kind {
            const WRITE: &'static str = $text;
        })*
    };
}

written! {
    u16: "write a number from 0 to 65535",
    usize: "write a whole number, 0 or more",
    u64: "write a whole number, 0 or more",
    bool: "write true or false",
    String: "write a text",
    IpAddr: "write an IP address, for example 0.0.0.0, 127.0.0.1 or ::",
    IpNet: "write networks with their length, for example 10.0.0.0/8 or 192.168.1.5/32",
    Url: "write a URL, for example http://10.0.0.5:8080",
    ByteSize: "write a number of bytes, or for example 50MB or 1GiB",
    HumanDuration: "write for example 500ms, 30s, 5m or 2h",
    LogFormat: "write json, pretty or auto",
    u32: "write a whole number, 0 or more",
    EgressRule: "write networks, addresses or host names, each with or without a port: 10.0.0.0/8, db.internal:5432, [fd00::/8]:6379",
}

/// A value for messages: a URL's password does not show, and where it cannot be told apart
/// nothing does.
pub(super) fn shown(text: &str) -> String {
    if text.contains('@') && !text.contains("://") {
        // `user:password@host` parses as a URL of the scheme `user`.
        "***".to_owned()
    } else if text.contains("://") || text.contains('?') {
        secret::redact_url(text)
    } else {
        text.to_owned()
    }
}

/// Reads typed values and keeps the faults.
pub(super) struct Reader<'s> {
    sources: &'s Sources,
    pub(super) faults: Vec<Fault>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(sources: &'s Sources) -> Self {
        let mut reader = Self {
            sources,
            faults: Vec::new(),
        };
        reader.check_names();
        reader
    }

    pub(super) fn fault(&mut self, at: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let at =
            settings::find(at).map_or_else(|| at.to_owned(), |s| format!("{} ({})", s.path, s.env));
        self.faults.push(Fault {
            at,
            problem: problem.into(),
            hint: hint.into(),
        });
    }

    /// The text of a setting from the highest layer that has it.
    pub(super) fn text(&mut self, path: &'static str) -> Option<String> {
        let setting = settings::find(path).expect("only registered settings are read");
        let higher = self.sources.above_file(setting);
        let found = match higher {
            Some(text) => Some(text),
            None => match lookup(&self.sources.file, path).map(as_text) {
                Some(Some(text)) => Some(text),
                Some(None) => {
                    let hint = "write a text, a number, true or false, or a list of texts";
                    self.fault(path, "has a value of the wrong type", hint);
                    None
                }
                None => None,
            },
        };
        found
            .or_else(|| Some(setting.default.to_owned()))
            .filter(|text| !text.is_empty())
    }

    /// A secret.
    pub(super) fn secret(&mut self, path: &'static str) -> Option<SecretString> {
        self.text(path).map(SecretString::from)
    }

    /// A typed value; a fault and `None` where the text does not parse.
    pub(super) fn value<T: Written>(&mut self, path: &'static str) -> Option<T> {
        let text = self.text(path)?;
        if let Ok(value) = text.parse() {
            return Some(value);
        }
        let setting = settings::find(path).expect("only registered settings are read");
        let shown = if setting.secret {
            "the value".to_owned()
        } else {
            format!("'{}'", shown(&text))
        };
        self.fault(path, format!("{shown} cannot be used"), T::WRITE);
        None
    }

    /// A typed value of a setting that has a default.
    pub(super) fn or_default<T: Written>(&mut self, path: &'static str) -> T {
        self.value(path).unwrap_or_else(|| {
            let default = settings::find(path)
                .expect("only registered settings are read")
                .default;
            default
                .parse()
                .unwrap_or_else(|_| panic!("the default of {path} parses"))
        })
    }

    /// A comma separated list.
    pub(super) fn list<T: Written>(&mut self, path: &'static str) -> Vec<T> {
        let text = self.text(path).unwrap_or_default();
        let mut values = Vec::new();
        for item in text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            match item.parse() {
                Ok(value) => values.push(value),
                Err(_) => {
                    // A password with a comma in it makes pieces that look harmless.
                    let shown = if text.contains('@') {
                        shown(&text)
                    } else {
                        shown(item)
                    };
                    self.fault(path, format!("'{shown}' cannot be used"), T::WRITE);
                }
            }
        }
        values
    }

    /// A name in the file that means nothing is a fault: it is a typing error that would
    /// otherwise silently do nothing.
    fn check_names(&mut self) {
        for (section, value) in &self.sources.file {
            if section == "gateway" {
                continue; // its own types refuse unknown names
            }
            let Some(table) = value.as_table() else {
                self.fault(
                    section,
                    "is not a section",
                    "write settings inside [sections]",
                );
                continue;
            };
            for key in table.keys() {
                let path = format!("{section}.{key}");
                if settings::find(&path).is_none() {
                    let hint = nearest(&path).map_or_else(
                        || "see docs/configuration.md for every name".to_owned(),
                        |near| format!("did you mean {near}?"),
                    );
                    self.fault(&path, "is no setting", hint);
                }
            }
        }
    }
}

fn lookup<'t>(table: &'t toml::Table, path: &str) -> Option<&'t toml::Value> {
    let (section, key) = path.split_once('.')?;
    table.get(section)?.get(key)
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(list) => list
            .iter()
            .map(as_text)
            .collect::<Option<Vec<_>>>()
            .map(|items| items.join(",")),
        _ => None,
    }
}

fn nearest(path: &str) -> Option<&'static str> {
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    SETTINGS
        .iter()
        .map(|setting| (shared(setting.path, path), setting.path))
        .max()
        .filter(|(shared, _)| *shared > path.find('.').unwrap_or(0) + 2)
        .map(|(_, path)| path)
}

/// The name that someone meant who wrote `name`: at least its first three letters, or all but one.
pub(super) fn nearest_of<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let shared = |a: &str| {
        a.bytes()
            .zip(name.bytes())
            .take_while(|(x, y)| x == y)
            .count()
    };
    let shared_end = |a: &str| {
        let ends = a.bytes().rev().zip(name.bytes().rev());
        ends.take_while(|(x, y)| x == y).count()
    };
    names
        .iter()
        .map(|known| (shared(known) + shared_end(known), *known))
        .max()
        .filter(|(same, _)| *same >= 3)
        .map(|(_, known)| known)
}
