//! `GET /`: the built-in page, for people. It fills the slot `studio` where `STUDIO_URL` is unset;
//! the edge asks for the dashboard's user name and password before it gets here.
//!
//! Rendered here without a script, so that it works under the strictest content policy.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bunbun_core::secret;
use bunbun_http::slots::SlotMode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::{
    routes::health::services::{self, Report, ServiceHealth, Status},
    state::ApiState,
};

const PAGE: &str = include_str!("dashboard.html");
const STYLE: &str = include_str!("dashboard.css");

/// The page's router, to be put behind [`bunbun_http::embed::router`].
pub fn router(state: Arc<ApiState>) -> Router {
    Router::new().route("/", get(show)).with_state(state)
}

async fn show(State(state): State<Arc<ApiState>>) -> Response {
    let report = services::services(&state).await;
    let page = render(&report, state.parts.version);
    let hash = BASE64_STANDARD.encode(secret::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, page).into_response()
}

fn render(report: &Report, version: &str) -> String {
    let rows = report
        .services
        .iter()
        .fold(String::new(), |mut rows, (name, service)| {
            let _ = writeln!(rows, "{}", row(name, service));
            rows
        });
    let down = report
        .services
        .values()
        .filter(|service| service.status == Status::Down)
        .count();
    let summary = match down {
        0 => "Everything that is configured answers.".to_owned(),
        1 => "One service does not answer.".to_owned(),
        many => format!("{many} services do not answer."),
    };
    // The rows come last: nothing in them is taken for a placeholder.
    PAGE.replace("{{style}}", STYLE)
        .replace("{{version}}", &escape(version))
        .replace("{{summary}}", &summary)
        .replace("{{rows}}", &rows)
}

fn row(name: &str, service: &ServiceHealth) -> String {
    let (class, state) = match service.status {
        Status::Up => ("up", "up"),
        Status::Down => ("down", "down"),
        Status::NotConfigured => ("none", "not configured"),
    };
    let error = service
        .error
        .as_deref()
        .map(|error| format!("<small>{}</small>", escape(error)))
        .unwrap_or_default();
    let latency = service
        .latency
        .map(|latency| format!("{latency:.1} ms"))
        .unwrap_or_default();
    let mode = match service.mode {
        Some(SlotMode::Embedded) => "in BunBun",
        Some(SlotMode::Remote) => "elsewhere",
        None => "",
    };
    format!(
        "<tr><th scope=\"row\">{name}</th><td><span class=\"{class}\">{state}</span>{error}</td>\
         <td>{latency}</td><td>{mode}</td><td>{path}</td></tr>",
        name = escape(name),
        path = path_of(name),
    )
}

const fn path_of(name: &str) -> &'static str {
    match name.as_bytes() {
        b"auth" => "<code>/auth/v1</code>",
        b"rest" => "<code>/rest/v1</code>",
        b"storage" => "<code>/storage/v1</code>",
        b"realtime" => "<code>/realtime/v1</code>",
        b"functions" => "<code>/functions/v1</code>",
        b"analytics" => "<code>/analytics/v1</code>",
        b"meta" => "<code>/pg</code>",
        b"postgres" => "<code>/api/db</code>",
        _ => "",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use bunbun_http::slots::SlotMode;

    use super::{Report, ServiceHealth, Status, render};

    #[test]
    fn error_texts_cannot_become_markup() {
        let service = ServiceHealth {
            status: Status::Down,
            latency: None,
            mode: Some(SlotMode::Remote),
            error: Some("<script>alert(1)</script> {{rows}}".to_owned()),
        };
        let report = Report {
            services: [("auth".to_owned(), service)].into(),
        };
        let page = render(&report, "0.1.0");
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("One service does not answer."), "{page}");
        assert_eq!(page.matches("<tr>").count(), 2, "{page}");
    }
}
