//! `request-transformer`: changes to the request before it goes to the service.
//!
//! What takes something away from the client (`remove`, `replace`, `rename`) protects the
//! service: where it cannot be done exactly, more is taken away, or the route is refused.

use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::{Fields, Findings, Kind, Outcome, Transformation, quoted};
use crate::import::kong::fields::is_placeholder;

/// Reads the plugin.
pub(super) fn read(config: &mut Fields, findings: &mut Findings) -> Outcome<Kind> {
    let mut reader = Reader {
        result: Transformation::default(),
        guarded: false,
        findings,
    };
    reader.remove(config.fields("remove")?)?;
    reader.rename(config.fields("rename")?)?;
    let (replace, add) = (config.fields("replace")?, config.fields("add")?);
    reader.values(replace, add)?;
    let mut append = config.fields("append")?;
    let hint = "`request_headers.set` of the route sets a header";
    for part in ["headers", "querystring", "body"] {
        append.expect(part, &json!([]), reader.findings, hint);
    }
    let hint = "the route is refused to everyone; do it in the service and set `access`";
    reader.guarded |= config.expect("http_method", &json!(null), reader.findings, hint);
    // How values are made from templates: there are none.
    config.ignore(&["dots_in_keys"]);
    Ok(if reader.guarded {
        Kind::GUARD
    } else {
        Kind::Transform(reader.result)
    })
}

struct Reader<'f> {
    result: Transformation,
    guarded: bool,
    findings: &'f mut Findings,
}

/// Headers that frame or route a message: the gateway's own business.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header's name in lower case, if it is one that rules may touch.
fn header_name(text: &str) -> Option<String> {
    let name: HeaderName = text.trim().parse().ok()?;
    (!FRAMING.contains(&name.as_str())).then(|| name.as_str().to_owned())
}

/// Name and value of `Name: value`.
fn pair(text: &str) -> (&str, &str) {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    (name.trim(), value.trim())
}

/// Whether a value picks the token that belongs to an application's key, as the stack's own
/// configuration does. The gateway does that itself.
fn picks_token(value: &str) -> bool {
    let by_variable = matches!(
        value,
        "$LUA_AUTH_EXPR" | "$LUA_RT_WS_EXPR" | "$LUA_FUNCTIONS_EXPR"
    );
    let keys = ["headers.apikey", "query_params.apikey"];
    by_variable || (value.starts_with("$(") && keys.iter().any(|key| value.contains(key)))
}

impl Reader<'_> {
    /// Changes to query and body: those that take away guard the service.
    fn other_parts(&mut self, fields: &mut Fields, takes_away: bool) {
        let hint = if takes_away {
            "the route is refused to everyone; do it in the service and set `access`"
        } else {
            "only headers can be changed"
        };
        for part in ["querystring", "body"] {
            let found = fields.expect(part, &json!([]), self.findings, hint);
            self.guarded |= takes_away && found;
        }
    }

    fn remove(&mut self, mut fields: Fields) -> Outcome<()> {
        for text in fields.texts("headers")?.unwrap_or_default() {
            self.take_away(&fields, &text);
        }
        self.other_parts(&mut fields, true);
        Ok(())
    }

    fn take_away(&mut self, fields: &Fields, name: &str) {
        match header_name(name) {
            Some(name) if !self.result.rules.remove.contains(&name) => {
                self.result.rules.remove.push(name);
            }
            Some(_) => {}
            None => {
                let reason = format!("{} cannot be taken away", quoted(name));
                self.findings
                    .note(fields.at("headers"), reason, "the gateway sets it itself");
            }
        }
    }

    fn rename(&mut self, mut fields: Fields) -> Outcome<()> {
        for text in fields.texts("headers")?.unwrap_or_default() {
            let (old, new) = pair(&text);
            self.take_away(&fields, old);
            let reason = format!("{} is taken away, {} not set", quoted(old), quoted(new));
            self.findings.note(
                fields.at("headers"),
                reason,
                "send the new name from the client",
            );
        }
        self.other_parts(&mut fields, true);
        Ok(())
    }

    /// `replace` and `add` together: a header in both, with one value, is simply set.
    fn values(&mut self, mut replace: Fields, mut add: Fields) -> Outcome<()> {
        let added = add.texts("headers")?.unwrap_or_default();
        let replaced = replace.texts("headers")?.unwrap_or_default();
        for text in &replaced {
            let (name, value) = pair(text);
            if picks_token(value) {
                self.result.translates_keys = true;
            } else if name.eq_ignore_ascii_case("host") {
                self.host(&replace, value);
            } else if added.iter().any(|other| {
                let (other_name, other_value) = pair(other);
                other_name.eq_ignore_ascii_case(name) && other_value == value
            }) && let Some((name, value)) = self.usable(&replace, name, value)
            {
                self.result.rules.set.insert(name, value);
            } else {
                self.take_away(&replace, name);
                let reason = format!("{} is taken away instead of replaced", quoted(name));
                let hint = "set it always with `request_headers.set`";
                self.findings.note(replace.at("headers"), reason, hint);
            }
        }
        for text in &added {
            let (name, value) = pair(text);
            let lower = name.to_ascii_lowercase();
            if picks_token(value) {
                self.result.translates_keys = true;
            } else if !self.result.rules.set.contains_key(&lower)
                && lower != "host"
                && let Some((name, value)) = self.usable(&add, name, value)
            {
                self.result.rules.add.entry(name).or_insert(value);
            }
        }
        let query = replace.texts("querystring")?.unwrap_or_default();
        let hint = "the route is refused to everyone; do it in the service and set `access`";
        if !query.is_empty() && query.iter().all(|text| picks_token(pair(text).1)) {
            self.result.translates_keys = true;
        } else if !query.is_empty() {
            self.guarded = true;
            self.findings
                .note(replace.at("querystring"), "has no counterpart", hint);
        }
        self.guarded |= replace.expect("uri", &json!(null), self.findings, hint);
        self.other_parts(&mut replace, true);
        self.other_parts(&mut add, false);
        Ok(())
    }

    fn host(&mut self, fields: &Fields, value: &str) {
        let is_host = !value.is_empty()
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
        if is_host {
            self.result.host = Some(value.to_owned());
        } else {
            let reason = format!("{} is no host", quoted(value));
            self.findings
                .note(fields.at("headers"), reason, "set `host` of the route");
        }
    }

    fn usable(&mut self, fields: &Fields, name: &str, value: &str) -> Option<(String, String)> {
        let pair = header_name(name).filter(|_| {
            !is_placeholder(value) && !value.is_empty() && HeaderValue::from_str(value).is_ok()
        });
        if pair.is_none() {
            // The value may be a secret; the name is enough to find it.
            let reason = format!(
                "{} is not set: its value is computed or unusable",
                quoted(name)
            );
            self.findings.note(
                fields.at("headers"),
                reason,
                "set it in `request_headers.set`",
            );
        }
        pair.map(|name| (name, value.to_owned()))
    }
}
