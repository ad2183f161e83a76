//! What the lists of the catalogue have in common: `GET …/{schemas,tables,columns,…}`.

use axum::response::Response;
use bunbun_databases::postgres::catalog::{Items, List, MOST_ITEMS, Page};
use bunbun_http::ApiError;
use bytes::Bytes;
use garde::Validate;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{answer, connected};
use crate::{
    access::{ProjectAccess, Read},
    connections::Cacheable,
    state::ApiState,
};

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// The identifier of the stored connection; by default the primary one.
    #[garde(length(min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    pub(super) connection: Option<String>,
    /// Only what lies in this schema; by default everything but PostgreSQL's own.
    #[garde(length(min = 1, max = 200))]
    #[param(example = "public", min_length = 1, max_length = 200)]
    schema: Option<String>,
    /// Only what belongs to a table of this name.
    #[garde(length(min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    table: Option<String>,
    /// Only what has this text in its name, in whichever case.
    #[garde(length(min = 1, max = 200))]
    #[param(min_length = 1, max_length = 200)]
    search: Option<String>,
    /// Also what is PostgreSQL's own.
    #[garde(skip)]
    #[serde(default)]
    #[param(required = false, default = false)]
    system: bool,
    /// With the source of views and functions.
    #[garde(skip)]
    #[serde(default)]
    #[param(required = false, default = false)]
    definitions: bool,
    /// Most items of the page.
    #[garde(range(min = 1, max = MOST_ITEMS))]
    #[serde(default = "hundred")]
    #[param(required = false, default = 100, minimum = 1, maximum = 1000)]
    limit: u32,
    /// The `next_cursor` of the page before.
    #[garde(length(max = 4096))]
    #[param(max_length = 4096)]
    cursor: Option<String>,
}

pub(super) const fn hundred() -> u32 {
    100
}

impl ListParameters {
    pub(super) fn page(&self) -> Page {
        Page {
            schema: self.schema.clone(),
            table: self.table.clone(),
            search: self.search.clone(),
            system: self.system,
            definitions: self.definitions,
            limit: self.limit,
            cursor: self.cursor.clone(),
        }
    }
}

/// A page of a list as the answer to a request.
pub(super) async fn list(
    state: &ApiState,
    access: &ProjectAccess<Read>,
    (list, noun): (&'static List, &'static str),
    parameters: ListParameters,
) -> Result<Response, ApiError> {
    let postgres = connected(state, access, parameters.connection.as_deref()).await?;
    let page = parameters.page();
    let key = format!("{noun}{page:?}");
    let made = async {
        let items = postgres.list(list, &page).await?;
        Ok::<_, bunbun_databases::Error>(written(noun, &items))
    };
    let connections = state.connections()?;
    let cached = connections.cached(&postgres, Cacheable::Schemas, &key, Box::pin(made));
    let bytes = Box::pin(cached).await?;
    Ok(answer::json(Bytes::clone(&bytes)))
}

/// `{"<noun>": […], "next_cursor": …}`, of items that are JSON already.
pub(super) fn written(noun: &str, items: &Items) -> Bytes {
    let mut out = format!("{{\"{noun}\":[");
    for (index, item) in items.items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(item.get());
    }
    out.push_str("],\"next_cursor\":");
    match &items.next_cursor {
        // Of letters, digits, `-` and `_` only.
        Some(cursor) => out.push_str(&format!("\"{cursor}\"")),
        None => out.push_str("null"),
    }
    out.push('}');
    Bytes::from(out)
}
