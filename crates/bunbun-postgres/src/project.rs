//! What every project's database has: roles, schemas, functions.
//!
//! Whatever is there already stays as it is, whoever made it: a database of the original stack is
//! used, not converted. What is missing is made if our role may; if not, the error holds exactly
//! the SQL that a superuser has to run. PostgreSQL 14 and later.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::{Error, Pool, Session, Transaction};

/// The key of the advisory lock: "bunbun" in ASCII, and the project.
const LOCK_KEY: i64 = 0x6275_6e62_756e_0002;

/// Roles belong to the whole server, an advisory lock to one database: who prepares another
/// database at the same moment is met by chance, and then this is tried again.
const ATTEMPTS: usize = 8;

/// The pause after a chance meeting, times the attempt.
const PAUSE: Duration = Duration::from_millis(20);

/// Roles that callers may have.
const CALLERS: [&str; 3] = ["anon", "authenticated", "service_role"];

/// Every role and its attributes. Those of services have no login until an operator gives them a
/// password.
const ROLES: [(&str, &str); 6] = [
    ("anon", "nologin noinherit"),
    ("authenticated", "nologin noinherit"),
    ("service_role", "nologin noinherit bypassrls"),
    ("authenticator", "login noinherit"),
    ("supabase_auth_admin", "nologin noinherit"),
    ("supabase_storage_admin", "nologin noinherit"),
];

/// Every schema, and the role of the original service that it belongs to.
const SCHEMAS: [(&str, Option<&str>); 3] = [
    ("extensions", None),
    ("storage", Some("supabase_storage_admin")),
    ("auth", Some("supabase_auth_admin")),
];

/// Every function of `auth`, in the order in which they build on one another. Their bodies are
/// parsed here and now, so that nobody's `search_path` gives them another meaning; and PostgreSQL
/// can inline them into policies. The settings `request.jwt.claim.*` are older than
/// `request.jwt.claims`; where both are set, the older ones count, as in the original.
const FUNCTIONS: [(&str, &str); 4] = [
    (
        "jwt",
        "create function auth.jwt() returns jsonb language sql stable
           return coalesce(
             nullif(current_setting('request.jwt.claim', true), ''),
             nullif(current_setting('request.jwt.claims', true), '')
           )::jsonb",
    ),
    (
        "uid",
        "create function auth.uid() returns uuid language sql stable
           return coalesce(
             nullif(current_setting('request.jwt.claim.sub', true), ''),
             nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
           )::uuid",
    ),
    (
        "role",
        "create function auth.role() returns text language sql stable
           return coalesce(
             nullif(current_setting('request.jwt.claim.role', true), ''),
             nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
           )",
    ),
    (
        "email",
        "create function auth.email() returns text language sql stable
           return coalesce(
             nullif(current_setting('request.jwt.claim.email', true), ''),
             nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
           )",
    ),
];

/// What callers may do in `public`: everything that row-level security lets them. Given once, so
/// that an owner who takes it back is not overruled.
const PUBLIC: &str = "
alter default privileges in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public
  grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public
  grant all on functions to anon, authenticated, service_role;";

/// Prepares a project's database. May run any number of times, on several nodes at once.
///
/// # Errors
/// [`Error::NeedsSuperuser`] when something is missing that our role may not make.
pub async fn prepare(pool: &Pool) -> Result<(), Error> {
    let mut client = pool.get().await?;
    if Missing::read(&client).await?.is_nothing() {
        return Ok(());
    }
    let mut attempt = 0;
    loop {
        attempt += 1;
        let transaction = client.transaction().await?;
        match make(transaction).await {
            Err(error) if attempt < ATTEMPTS && is_collision(&error) => {
                tokio::time::sleep(PAUSE * u32::try_from(attempt).unwrap_or(1)).await;
            }
            other => return other,
        }
    }
}

/// The roles and memberships that a superuser makes for the owner of a project's database, who is
/// none. May run any number of times.
#[must_use]
pub fn superuser_sql(owner: &str) -> String {
    use std::fmt::Write as _;
    let mut sql = String::from("do $bunbun$ begin\n");
    for (name, attributes) in ROLES {
        let _ = writeln!(
            sql,
            "  if to_regrole('{name}') is null then create role {name} {attributes}; end if;"
        );
    }
    sql.push_str("end $bunbun$;\n");
    let callers = CALLERS.join(", ");
    let _ = writeln!(sql, "grant {callers} to authenticator;");
    let _ = writeln!(
        sql,
        "grant {callers}, supabase_auth_admin, supabase_storage_admin to {};",
        quoted(owner)
    );
    sql
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether somebody else made or changed the same role at the same moment.
fn is_collision(error: &Error) -> bool {
    let codes = [
        SqlState::DUPLICATE_OBJECT,
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_SCHEMA,
        SqlState::DUPLICATE_FUNCTION,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        // "tuple concurrently updated".
        SqlState::INTERNAL_ERROR,
    ];
    error.sqlstate().is_some_and(|code| codes.contains(code))
}

/// What the database lacks.
struct Missing {
    user: String,
    roles: Vec<String>,
    /// Roles that our role cannot become.
    memberships: Vec<String>,
    /// Roles that `authenticator` cannot become.
    authenticator: Vec<String>,
    schemas: Vec<String>,
    functions: Vec<String>,
    /// Schemas that are there and that our role may not look into.
    closed: Vec<String>,
    may_create_schemas: bool,
    may_create_functions: bool,
}

impl Missing {
    async fn read(session: &Session) -> Result<Self, Error> {
        let roles = ROLES.map(|(name, _)| name);
        let schemas = SCHEMAS.map(|(name, _)| name);
        let functions = FUNCTIONS.map(|(name, _)| name);
        // Before 16 a member could always become the role; since then a membership says so.
        let row = session
            .query_one(
                "select quote_ident(current_user),
                        array(select name from unnest($1::text[]) as name
                              where to_regrole(name) is null),
                        array(select name from unnest($2::text[]) as name
                              where to_regrole(name) is null
                                 or not pg_has_role(name, case
                                   when current_setting('server_version_num')::int >= 160000
                                   then 'set' else 'member' end)),
                        array(select name from unnest($2::text[]) as name
                              where to_regrole(name) is null
                                 or to_regrole('authenticator') is null
                                 or not pg_has_role('authenticator', name, 'member')),
                        array(select name from unnest($3::text[]) as name
                              where to_regnamespace(name) is null),
                        array(select name from unnest($4::text[]) as name
                              where not exists (
                                select from pg_proc
                                where pronamespace = to_regnamespace('auth')
                                  and proname = name and pronargs = 0)),
                        array(select name from unnest($3::text[]) as name
                              where to_regnamespace(name) is not null
                                and not has_schema_privilege(name, 'usage')),
                        has_database_privilege(current_database(), 'create'),
                        to_regnamespace('auth') is null
                          or has_schema_privilege('auth', 'create')",
                &[
                    &roles.as_slice(),
                    &CALLERS.as_slice(),
                    &schemas.as_slice(),
                    &functions.as_slice(),
                ],
            )
            .await?;
        Ok(Self {
            user: row.try_get(0)?,
            roles: row.try_get(1)?,
            memberships: row.try_get(2)?,
            authenticator: row.try_get(3)?,
            schemas: row.try_get(4)?,
            functions: row.try_get(5)?,
            closed: row.try_get(6)?,
            may_create_schemas: row.try_get(7)?,
            may_create_functions: row.try_get(8)?,
        })
    }

    fn is_nothing(&self) -> bool {
        self.roles.is_empty()
            && self.memberships.is_empty()
            && self.authenticator.is_empty()
            && self.schemas.is_empty()
            && self.functions.is_empty()
            && self.closed.is_empty()
    }

    /// The statements about roles.
    fn role_statements(&self) -> Vec<String> {
        let is_missing = |name: &str| self.roles.iter().any(|missing| missing == name);
        let mut statements = Vec::new();
        let mut granted = self.memberships.clone();
        for (name, attributes) in ROLES {
            if is_missing(name) {
                statements.push(format!("create role {name} {attributes};"));
                // Where the original has made them, they are not ours to have.
                if name.starts_with("supabase_") {
                    granted.push(name.to_owned());
                }
            }
        }
        if !self.authenticator.is_empty() {
            statements.push(format!(
                "grant {} to authenticator;",
                self.authenticator.join(", ")
            ));
        }
        if !granted.is_empty() {
            statements.push(format!("grant {} to {};", granted.join(", "), self.user));
        }
        statements
    }

    /// What a superuser has to run before our role can do the rest.
    fn superuser_statements(&self, database: &str, roles: &[String]) -> Option<String> {
        let mut statements = roles.to_vec();
        let user = &self.user;
        if !self.schemas.is_empty() && !self.may_create_schemas {
            statements.push(format!("grant create on database {database} to {user};"));
        }
        for schema in &self.closed {
            statements.push(format!("grant usage on schema {schema} to {user};"));
        }
        if !self.functions.is_empty() && !self.may_create_functions {
            statements.push(format!("grant create on schema auth to {user};"));
        }
        (!statements.is_empty()).then(|| statements.join("\n"))
    }
}

/// Makes what is missing, in one transaction.
async fn make(transaction: Transaction<'_>) -> Result<(), Error> {
    transaction
        .execute("select pg_advisory_xact_lock($1)", &[&LOCK_KEY])
        .await?;
    // What was missing before the lock may be there now.
    let missing = Missing::read(&transaction).await?;
    let database: String = transaction
        .query_one("select quote_ident(current_database())", &[])
        .await?
        .try_get(0)?;
    let needs = |sql: Option<String>| sql.map_or(Ok(()), |sql| Err(Error::NeedsSuperuser { sql }));
    let roles = missing.role_statements();
    if !roles.is_empty() {
        let made = transaction.batch_execute(&roles.join("\n")).await;
        match made {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                return needs(missing.superuser_statements(&database, &roles));
            }
            other => other?,
        }
    }
    needs(missing.superuser_statements(&database, &[]))?;
    let callers = CALLERS.join(", ");
    for (schema, admin) in SCHEMAS {
        if !missing.schemas.iter().any(|missing| missing == schema) {
            continue;
        }
        let mut sql = format!(
            "create schema {schema};
             grant usage on schema {schema} to {callers};"
        );
        if let Some(admin) = admin {
            sql.push_str(&format!("grant all on schema {schema} to {admin};"));
        }
        transaction.batch_execute(&sql).await?;
        if schema == "auth" {
            transaction.batch_execute(PUBLIC).await?;
        }
    }
    for (name, sql) in FUNCTIONS {
        if missing.functions.iter().any(|missing| missing == name) {
            transaction.batch_execute(sql).await?;
        }
    }
    transaction.commit().await
}
