//! Reads settings out of their layers and collects every fault instead of stopping at the first.

use std::{collections::HashMap, fmt, str::FromStr};

use secrecy::SecretString;

use super::settings::{self, SETTINGS};

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

    /// The text of a setting from the flags or the environment.
    fn above_file(&self, setting: &settings::Setting) -> Option<String> {
        let env = |name: &str| self.env.get(name).filter(|text| !text.is_empty()).cloned();
        self.flags
            .get(setting.path)
            .cloned()
            .or_else(|| env(setting.env))
            .or_else(|| {
                // The name that the original stack's own .env uses.
                (setting.env == "SUPABASE_SERVICE_KEY")
                    .then(|| env("SERVICE_ROLE_KEY"))
                    .flatten()
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
                    self.fault(path, "has a value of the wrong type", setting.doc);
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
    pub(super) fn value<T: FromStr>(&mut self, path: &'static str) -> Option<T> {
        let text = self.text(path)?;
        if let Ok(value) = text.parse() {
            return Some(value);
        }
        let setting = settings::find(path).expect("only registered settings are read");
        let shown = if setting.secret {
            "the value".to_owned()
        } else {
            format!("'{text}'")
        };
        self.fault(path, format!("{shown} cannot be used"), setting.doc);
        None
    }

    /// A typed value of a setting that has a default.
    pub(super) fn or_default<T: FromStr>(&mut self, path: &'static str) -> T {
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
    pub(super) fn list<T: FromStr>(&mut self, path: &'static str) -> Vec<T> {
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
                    let doc = settings::find(path).map_or("", |s| s.doc);
                    self.fault(path, format!("'{item}' cannot be used"), doc);
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
