//! `GET /admin/audit`.

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};

use super::Page;
use crate::{
    error::{AuthError, Result},
    request::{Admin, Origin},
    service::{self, AuthService},
    store::audit,
};

/// Lists what happened, the latest first; `query=author:x`, `action:x` or `type:x` filters.
pub(super) async fn list_audit(
    State(service): State<AuthService>,
    origin: Origin,
    _admin: Admin,
) -> Result<Response> {
    let service = &*service.0;
    let page = Page::read(&origin)?;
    let (columns, text): (&[&str], &str) = match origin.query("query").split_once(':') {
        Some(("author", text)) => (&["actor_username", "actor_name"], text),
        Some(("action", text)) => (&["action"], text),
        Some(("type", text)) => (&["log_type"], text),
        None if origin.query("query").is_empty() => (&[], ""),
        _ => {
            return Err(AuthError::invalid(
                "Invalid query scope: write author:, action: or type: before the text",
            ));
        }
    };
    let database = service.database(origin.project()).await?;
    let client = database.client().await?;
    let (records, total) = audit::list(&client, columns, text, page.page, page.per_page).await?;
    let headers = page.headers(&origin, "/admin/audit", total);
    Ok((headers, service::json(&records)?).into_response())
}
