//! A caller's transaction: the database sees the caller's role and claims, so that row-level
//! security decides.

use std::time::Duration;

use futures_util::future;
use tokio_postgres::error::SqlState;

use crate::{Client, Error, Savepoint, Session, Transaction, client::Entry};

/// Sets everything, the role last. The parameters are bound, never spliced. `authenticator` is the
/// role whose memberships say which roles callers may have: a token must not turn its bearer into
/// the owner, and `none` is no role. In the original's databases it is a member of a superuser too.
const ENTER: &str = "
select
  case when pg_catalog.pg_has_role('authenticator', $1::text::name, 'member')
      and not (select rolsuper from pg_catalog.pg_roles where rolname = $1::text::name)
    then pg_catalog.set_config('role', $1::text, true)
  end as role,
  pg_catalog.count(pg_catalog.set_config(name, value, true)) as settings
from rows from (
  pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])
) as setting (name, value)";

/// The longest name that PostgreSQL does not cut.
const LONGEST_NAME_BYTES: usize = 63;

/// Who acts, and how.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The database role: `anon`, `authenticated`, `service_role` or another that `authenticator`
    /// is a member of.
    pub role: &'a str,
    /// The verified token's claims, as JSON text: `request.jwt.claims`.
    pub claims: &'a str,
    /// The user's id: `request.jwt.claim.sub`, of which older policies ask.
    pub subject: Option<&'a str>,
    /// More settings for the transaction: `request.headers`, `request.method`, `request.path`,
    /// `storage.operation`, …
    pub settings: &'a [(&'a str, &'a str)],
    /// Longest run of each statement.
    pub statement_timeout: Duration,
}

/// Begins a transaction of the caller, in one round trip. At its end, however it ends, role and
/// settings are forgotten. A connection that died at rest is replaced unseen.
///
/// # Errors
/// [`Error::RoleNotAllowed`], [`Error::Unavailable`].
pub async fn begin<'c>(
    client: &'c mut Client,
    scope: &Scope<'_>,
) -> Result<Transaction<'c>, Error> {
    if !is_name(scope.role) {
        return Err(Error::RoleNotAllowed(scope.role.to_owned()));
    }
    client.begin(Entry::Scope(scope)).await
}

/// Makes the rest of a savepoint a caller's, whoever's the transaction is. When the savepoint is
/// rolled back, role and settings are again what they were.
///
/// # Errors
/// As [`begin`].
pub async fn assume(savepoint: &Savepoint<'_>, scope: &Scope<'_>) -> Result<(), Error> {
    if !is_name(scope.role) {
        return Err(Error::RoleNotAllowed(scope.role.to_owned()));
    }
    set(savepoint, scope).await
}

/// Whether PostgreSQL takes a role's name as it is.
fn is_name(role: &str) -> bool {
    role.len() <= LONGEST_NAME_BYTES && !role.contains('\0')
}

pub(crate) async fn enter(session: &Session, scope: &Scope<'_>) -> Result<(), Error> {
    // Once per connection, before anything is sent.
    session.prepare_cached(ENTER).await?;
    // Both are sent before either is answered.
    let (begun, entered) = future::join(session.batch_execute("begin"), set(session, scope)).await;
    begun?;
    entered
}

async fn set(session: &Session, scope: &Scope<'_>) -> Result<(), Error> {
    let timeout = scope.statement_timeout.as_millis().max(1).to_string();
    let own = [
        ("request.jwt.claims", scope.claims),
        ("request.jwt.claim.sub", scope.subject.unwrap_or_default()),
        ("request.jwt.claim.role", scope.role),
        ("statement_timeout", &timeout),
    ];
    let (names, values): (Vec<&str>, Vec<&str>) = own.iter().chain(scope.settings).copied().unzip();
    let statement = session.prepare_cached(ENTER).await?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&scope.role, &names, &values];
    let entered = session.query_one(&statement, &parameters).await;
    let not_allowed = || Error::RoleNotAllowed(scope.role.to_owned());
    let row = entered.map_err(|error| match error.code() {
        // Of no such role, and of one that ours may not become.
        Some(&SqlState::UNDEFINED_OBJECT | &SqlState::INSUFFICIENT_PRIVILEGE) => not_allowed(),
        _ => error.into(),
    })?;
    let role: Option<&str> = row.try_get(0)?;
    role.map(drop).ok_or_else(not_allowed)
}
