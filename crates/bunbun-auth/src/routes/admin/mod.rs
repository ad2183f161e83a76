//! `/admin/*`: for whoever has the role `service_role`.

mod audit;
mod generate_link;
mod users;

use axum::{
    Router,
    routing::{get, post},
};

use crate::{
    error::{AuthError, Result},
    request::Origin,
    service::AuthService,
};

pub(super) fn router() -> Router<AuthService> {
    Router::new()
        .route("/admin/audit", get(audit::list_audit))
        .route("/admin/generate_link", post(generate_link::create_link))
        .merge(users::router())
}

/// Most rows of a page.
const MAX_PER_PAGE: i64 = 1_000;

/// A page of a list.
#[derive(Debug, Clone, Copy)]
struct Page {
    page: i64,
    per_page: i64,
}

impl Page {
    /// Reads `page` and `per_page`.
    fn read(origin: &Origin) -> Result<Self> {
        let number = |name, default| match origin.query(name) {
            "" => Ok(default),
            text => text.parse::<u32>().map(i64::from).map_err(|_| {
                AuthError::invalid(format!("Bad Pagination Parameters: {name} is not a number"))
            }),
        };
        let per_page = number("per_page", 50)?;
        if per_page == 0 {
            return Err(AuthError::invalid(
                "Bad Pagination Parameters: per_page must be greater than 0",
            ));
        }
        Ok(Self {
            page: number("page", 1)?.max(1),
            per_page: per_page.min(MAX_PER_PAGE),
        })
    }

    /// `X-Total-Count` and `Link`. Clients read the page's number from the first parameter.
    fn headers(self, origin: &Origin, path: &str, total: i64) -> [(&'static str, String); 2] {
        let pages = (total + self.per_page - 1) / self.per_page;
        let link = |page: i64, rel: &str| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("page", &page.to_string());
            for (name, value) in origin.query_pairs() {
                if name != "page" {
                    query.append_pair(name, value);
                }
            }
            format!("<{path}?{}>; rel=\"{rel}\"", query.finish())
        };
        let mut links = Vec::new();
        if pages > self.page {
            links.push(link(self.page + 1, "next"));
        }
        links.push(link(pages, "last"));
        [
            ("link", links.join(", ")),
            ("x-total-count", total.to_string()),
        ]
    }
}
