//! Where a browser may be sent: `SITE_URL` and what the allow-list says, and nowhere else.
//!
//! The text that is checked is the text that is used. A URL that different programs read
//! differently (user info, backslashes, control characters, `//`, encoded hosts) is refused, so
//! that a browser cannot end up where the check did not look.

use std::net::IpAddr;

use url::{Host, Url};

use crate::{error::AuthError, glob::Glob};

/// The longest URL that is looked at.
const MAX_BYTES: usize = 2048;

/// The allow-list.
#[derive(Debug, Clone)]
pub(crate) struct Redirects {
    site: Url,
    site_text: String,
    patterns: Vec<Glob>,
}

impl Redirects {
    pub(crate) fn new(site: &Url, allow_list: &[String]) -> Self {
        // `https://app.example.com`, as it is usually written, rather than with a slash.
        let text = site.as_str();
        let site_text = if site.path() == "/" && site.query().is_none() && site.fragment().is_none()
        {
            text.trim_end_matches('/').to_owned()
        } else {
            text.to_owned()
        };
        Self {
            site: site.clone(),
            site_text,
            patterns: allow_list
                .iter()
                .map(|item| Glob::new(item.trim()))
                .collect(),
        }
    }

    /// The application's own address.
    pub(crate) fn site(&self) -> &str {
        &self.site_text
    }

    /// The first candidate that is allowed, else the application.
    pub(crate) fn choose<'a>(&'a self, candidates: impl IntoIterator<Item = &'a str>) -> &'a str {
        candidates
            .into_iter()
            .find(|candidate| self.allows(candidate))
            .unwrap_or(&self.site_text)
    }

    /// Whether a browser may be sent there.
    pub(crate) fn allows(&self, target: &str) -> bool {
        if target.is_empty() || target.len() > MAX_BYTES || !is_plain(target) {
            return false;
        }
        // Apps register schemes that are no URL scheme by the letter, such as `my_app://`; those
        // go to the patterns as they are, but nothing that a browser would take for a web page.
        let scheme = target
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let Ok(url) = Url::parse(target) else {
            return !matches!(scheme.as_str(), "http" | "https")
                && is_app_scheme(&scheme)
                && self.matches_pattern(target);
        };
        match url.scheme() {
            "http" | "https" => self.allows_web(target, &url),
            scheme => is_app_scheme(scheme) && self.matches_pattern(target),
        }
    }

    fn allows_web(&self, target: &str, url: &Url) -> bool {
        if !url.username().is_empty() || url.password().is_some() {
            return false;
        }
        // What stands in the text must be what the parser understood: no `https:host`, no
        // `https:///host`, no host in another notation.
        let written = target
            .split_once("://")
            .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default())
            .unwrap_or_default();
        let understood = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            _ => return false,
        };
        let default_port = format!("{understood}:{}", url.port_or_known_default().unwrap_or(0));
        if !written.eq_ignore_ascii_case(&understood)
            && !written.eq_ignore_ascii_case(&default_port)
        {
            return false;
        }
        let same_place = url.scheme() == self.site.scheme() && url.host() == self.site.host();
        // Native applications listen on whichever port is free (RFC 8252 §7.3).
        if same_place
            && (url.port_or_known_default() == self.site.port_or_known_default()
                || is_loopback(url))
        {
            return true;
        }
        // `https://evil?.example.com/` must not pass for a subdomain.
        let after_host = target
            .split_once("://")
            .map_or("", |(_, rest)| &rest[written.len()..]);
        if after_host.starts_with('?') {
            return false;
        }
        match url.host() {
            Some(Host::Domain(_)) => self.matches_pattern(target),
            // An address says nothing about who answers there.
            Some(_) => is_loopback(url) && self.matches_pattern(target),
            None => false,
        }
    }

    fn matches_pattern(&self, target: &str) -> bool {
        let without_fragment = target.split('#').next().unwrap_or_default();
        self.patterns
            .iter()
            .any(|pattern| pattern.matches(without_fragment))
    }
}

/// Visible ASCII without what browsers rewrite.
fn is_plain(target: &str) -> bool {
    target
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"\\<>\"`^{|}".contains(&b))
}

/// A scheme that leads into an application, never one that a browser runs itself.
fn is_app_scheme(scheme: &str) -> bool {
    let dangerous = [
        "javascript",
        "data",
        "vbscript",
        "file",
        "blob",
        "about",
        "ftp",
        "ws",
        "wss",
        "view-source",
        "filesystem",
        "jar",
    ];
    !scheme.is_empty()
        && scheme.as_bytes()[0].is_ascii_alphabetic()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
        && !dangerous.contains(&scheme)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// `a=b&c=d`, encoded as forms are.
pub(crate) fn encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// Adds parameters to a target's query. Targets may be of any scheme, so this is done on the text.
pub(crate) fn with_query(target: &str, pairs: &[(&str, &str)]) -> String {
    let (before, fragment) = match target.split_once('#') {
        Some((before, fragment)) => (before, format!("#{fragment}")),
        None => (target, String::new()),
    };
    let separator = match before.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{before}{separator}{}{fragment}", encode(pairs))
}

/// Replaces a target's fragment.
pub(crate) fn with_fragment(target: &str, fragment: &str) -> String {
    let before = target.split('#').next().unwrap_or_default();
    format!("{before}#{fragment}")
}

/// Tells an application what went wrong: in the fragment, and where asked in the query.
pub(crate) fn with_error(target: &str, error: &AuthError, in_query: bool) -> String {
    // What the original says to clients in words is a name here (RFC 6749 §4.1.2.1).
    let name = match error.redirect_error() {
        "invalid request" | "invalid nonce" => "invalid_request",
        name => name,
    };
    let mut pairs = vec![("error", name)];
    if !error.is_oauth() {
        pairs.push(("error_code", error.code().as_str()));
    }
    pairs.push(("error_description", error.message()));
    let target = if in_query {
        with_query(target, &pairs)
    } else {
        target.to_owned()
    };
    with_fragment(&target, &encode(&pairs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::Redirects;

    fn redirects(site: &str, allow: &[&str]) -> Redirects {
        let allow: Vec<String> = allow.iter().map(|item| (*item).to_owned()).collect();
        Redirects::new(&Url::parse(site).unwrap(), &allow)
    }

    #[test]
    fn the_site_and_the_list_are_allowed_and_nothing_else() {
        let r = redirects(
            "https://app.example.com",
            &[
                "https://*.preview.example.com/**",
                "my_app://callback",
                "com.example:/cb",
            ],
        );
        for good in [
            "https://app.example.com",
            "https://app.example.com/a?b=c#d",
            "https://app.example.com:443/",
            "https://x.preview.example.com/a/b",
            "my_app://callback",
            "com.example:/cb",
        ] {
            assert!(r.allows(good), "{good}");
        }
        for bad in [
            "",
            "/relative",
            "//evil.com",
            "///evil.com",
            "https:evil.com",
            "https:///evil.com",
            "https:/\\evil.com",
            "https:\\\\evil.com",
            "https://app.example.com\\@evil.com",
            "https://app.example.com@evil.com",
            "https://user:pw@app.example.com",
            "https://app.example.com.evil.com",
            "https://evil.com/https://app.example.com",
            "https://evil.com#.preview.example.com/",
            "https://evil.com/.preview.example.com/x",
            "https://evil.com?.preview.example.com/x",
            "https://evil?.preview.example.com/x",
            "https://evil%2ecom/x",
            "http://app.example.com",
            "https://app.example.com:8443",
            "\thttps://app.example.com",
            "https://app.example.com\r\nset-cookie: a=b",
            "https://app.example.com/\0",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://127.0.0.1",
            "https://[::1]",
            "javascript:alert(1)",
            "data:text/html,x",
            "my_app://other",
            "https://аpp.example.com",
        ] {
            assert!(!r.allows(bad), "{bad}");
            assert_eq!(r.choose([bad]), "https://app.example.com");
        }
    }

    #[test]
    fn a_pattern_of_everything_still_refuses_what_browsers_misread() {
        let r = redirects("https://app.example.com", &["**"]);
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//evil.com",
            "https:/\\evil.com",
            "https://a@evil.com",
            "https://10.0.0.1/",
            "java\tscript:alert(1)",
        ] {
            assert!(!r.allows(bad), "{bad}");
        }
        assert!(r.allows("https://other.example/"));
    }

    #[test]
    fn native_applications_may_use_any_port_of_this_machine() {
        let r = redirects("http://localhost:3000", &[]);
        assert!(r.allows("http://localhost:5173/callback"));
        assert!(!r.allows("https://localhost:5173/callback"));
        assert!(!r.allows("http://localhost.evil.com:3000/"));
        let r = redirects("http://127.0.0.1:3000", &[]);
        assert!(r.allows("http://127.0.0.1:4000/x"));
    }

    #[test]
    fn answers_are_added_without_losing_what_is_there() {
        use super::{with_error, with_fragment, with_query};
        use crate::error::{AuthError, Code};
        assert_eq!(
            with_query("a://b?c=d#e", &[("f", "g h&")]),
            "a://b?c=d&f=g+h%26#e"
        );
        assert_eq!(with_query("a://b", &[("f", "g")]), "a://b?f=g");
        assert_eq!(with_fragment("a://b#c", "d"), "a://b#d");
        let error = AuthError::forbidden(Code::OtpExpired, "Too late");
        assert_eq!(
            with_error("a://b?x=y", &error, true),
            "a://b?x=y&error=access_denied&error_code=otp_expired&error_description=Too+late\
             #error=access_denied&error_code=otp_expired&error_description=Too+late"
        );
    }

    #[test]
    fn errors_of_oauth_have_the_names_of_the_standard() {
        use crate::error::AuthError;
        let error = AuthError::oauth("invalid request", "Bad ID token");
        assert_eq!(
            super::with_error("a://b", &error, false),
            "a://b#error=invalid_request&error_description=Bad+ID+token"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_allowed_leads_to_the_site(text in "(https?:)?[/\\\\@:a-z.#?%\t]{0,40}") {
            let r = redirects("https://app.example.com", &[]);
            if r.allows(&text) {
                let url = Url::parse(&text).unwrap();
                prop_assert_eq!(url.host_str(), Some("app.example.com"));
                prop_assert_eq!(url.scheme(), "https");
            }
        }
    }
}
