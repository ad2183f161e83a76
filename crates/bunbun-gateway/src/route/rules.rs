//! Changes to headers, checked and parsed once.

use bunbun_core::config::gateway::HeaderRules;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Headers that routes may not change: they frame the message or name the connection.
const FORBIDDEN: [&str; 6] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
];

/// Changes to headers: first remove, then set, then add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Rules {
    /// Parses names and values.
    ///
    /// # Errors
    /// The first that is no header, or frames the message.
    pub fn parse(config: &HeaderRules) -> Result<Self, String> {
        let name = |text: &str| match HeaderName::try_from(text) {
            Ok(name) if FORBIDDEN.contains(&name.as_str()) => Err(format!(
                "header '{text}' frames the message and cannot be changed"
            )),
            Ok(name) => Ok(name),
            Err(_) => Err(format!("'{text}' is no header name")),
        };
        let pair = |(key, text): (&String, &String)| {
            let value = HeaderValue::try_from(text).map_err(|_| {
                format!("the value of header '{key}' has characters that headers cannot have")
            })?;
            Ok((name(key)?, value))
        };
        Ok(Self {
            remove: config
                .remove
                .iter()
                .map(|text| name(text))
                .collect::<Result<_, _>>()?,
            set: config.set.iter().map(pair).collect::<Result<_, String>>()?,
            add: config.add.iter().map(pair).collect::<Result<_, String>>()?,
        })
    }

    /// Applies the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}
