//! The sessions of a database: `GET …/activity`, and ending what they do.

use tokio_postgres::types::Type;

use super::{
    catalog::{self, Items, List, Page},
    error::Error,
    pool::Pool,
};

/// Longest part of a statement that is shown, in characters.
macro_rules! shown {
    () => {
        "4096"
    };
}

/// The sessions of the database but the one that looks, by process.
const SESSIONS: List = List {
    from: "pg_stat_activity a",
    key: &["lpad(a.pid::text, 10, '0')"],
    schema: None,
    table: None,
    name: "coalesce(a.query, '')",
    system: Some(
        "a.datname is distinct from current_database() or a.pid = pg_backend_pid() \
         or a.backend_type <> 'client backend'",
    ),
    item: concat!(
        "a.pid, a.usename as \"user\", a.application_name as application, \
         host(a.client_addr) as client_address, a.backend_type as kind, a.state, \
         a.wait_event_type, a.wait_event, a.backend_start as connected_at, \
         a.xact_start as transaction_started_at, a.query_start as query_started_at, \
         a.state_change as state_changed_at, \
         case when a.state = 'active' then \
           round(extract(epoch from clock_timestamp() - a.query_start) * 1000)::int8 end \
           as running_ms, \
         pg_blocking_pids(a.pid) as blocked_by, left(a.query, ",
        shown!(),
        ") as query"
    ),
};

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its statement is cancelled.
    Statement,
    /// It is closed.
    Session,
}

/// A page of the database's sessions.
///
/// # Errors
/// As [`catalog::list`].
pub async fn list(pool: &Pool, page: &Page) -> Result<Items, Error> {
    let page = Page {
        // Other databases are nobody's business here.
        system: false,
        schema: None,
        table: None,
        ..page.clone()
    };
    catalog::list(pool, &SESSIONS, &page).await
}

/// Ends what a session of this database does. Whether it was still there to be told is answered.
///
/// # Errors
/// [`Error::ProcessNotFound`], [`Error::Sql`] where the role may not.
pub async fn end(pool: &Pool, process: i32, end: End) -> Result<bool, Error> {
    let function = match end {
        End::Statement => "pg_cancel_backend",
        End::Session => "pg_terminate_backend",
    };
    let client = pool.get().await?;
    // The conditions first: the function must see no process of another database.
    let statement = format!(
        "with found as materialized ( \
           select a.pid from pg_catalog.pg_stat_activity a \
           where a.pid = $1 and a.datname = pg_catalog.current_database() \
             and a.pid <> pg_catalog.pg_backend_pid() and a.backend_type = 'client backend') \
         select pg_catalog.{function}(pid) from found"
    );
    let rows = client
        .query_typed(&statement, &[(&process, Type::INT4)])
        .await
        .map_err(Error::from_statement)?;
    match rows.first() {
        Some(row) => catalog::get(row, 0),
        None => Err(Error::ProcessNotFound(process)),
    }
}
