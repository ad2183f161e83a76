//! Databases as a whole: make, name, replace, drop. All of it from outside the database itself.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio_postgres::{Client, error::SqlState};

use super::{error::Error, login::Login};

/// How the names of databases begin into which a restore is loading.
pub const WORKING_PREFIX: &str = "bunbun_restore_";

/// How often sessions of a database that is to be replaced are told to end.
const TERMINATE_EVERY: Duration = Duration::from_millis(100);

/// Settings whose values are lists of quoted names, as of PostgreSQL's `GUC_LIST_QUOTE`.
const NAME_LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The server of a URL.
pub struct Server(Login);

impl Server {
    /// Understands the URL. Nothing connects yet.
    ///
    /// # Errors
    /// [`Error::Database`] for a URL that cannot be understood.
    pub fn new(url: &SecretString) -> Result<Self, Error> {
        Login::parse(url).map(Self)
    }

    /// Whether there is such a database.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn exists(&self, name: &str) -> Result<bool, Error> {
        check(name)?;
        let client = self.outside(&[]).await?;
        let row = client
            .query_opt(
                "select from pg_catalog.pg_database where datname = $1",
                &[&name],
            )
            .await
            .map_err(|error| Error::about(name, "list databases", error))?;
        Ok(row.is_some())
    }

    /// What [`describe`](super::describe) says of one of its databases.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn describe(&self, name: &str) -> Result<super::Description, Error> {
        let client = self.connect(name).await?;
        super::describe(&client).await
    }

    /// Makes an empty database with the encoding and locale of the database `like`, where that
    /// exists, and its owner when `same_owner`. Nobody else may enter it.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::DatabaseExists`], [`Error::Database`].
    pub async fn create(&self, name: &str, like: &str, same_owner: bool) -> Result<(), Error> {
        check(name)?;
        let action = "create databases; grant it CREATEDB, and membership in the owner's role";
        let client = self.outside(&[]).await?;
        let model = client
            .query_opt(
                "select to_jsonb(d) || jsonb_build_object('encoding_name', \
                 pg_encoding_to_char(d.encoding), 'owner_name', pg_get_userbyid(d.datdba)) \
                 from pg_catalog.pg_database d where d.datname = $1",
                &[&like],
            )
            .await
            .map_err(|error| Error::about(like, "list databases", error))?;
        let mut sql = format!("create database {} template template0", identifier(name));
        if let Some(model) = model.map(|row| row.get::<_, Value>(0)) {
            sql += &locale(&model);
            if same_owner && let Some(owner) = model["owner_name"].as_str() {
                sql += &format!(" owner {}", identifier(owner));
            }
        }
        client
            .batch_execute(&sql)
            .await
            .map_err(|error| Error::about(name, action, error))?;
        // PostgreSQL lets every role into a new database.
        client
            .batch_execute(&format!(
                "revoke all on database {} from public",
                identifier(name)
            ))
            .await
            .map_err(|error| Error::about(name, action, error))
    }

    /// Gathers statistics, which a dump does not hold.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn analyze(&self, name: &str) -> Result<(), Error> {
        let client = self.connect(name).await?;
        client
            .batch_execute("analyze")
            .await
            .map_err(|error| Error::about(name, "analyze tables", error))
    }

    /// Gives a database its name. Nobody may be connected to it.
    ///
    /// # Errors
    /// [`Error::DatabaseExists`] when there is one of that name, [`Error::InUse`],
    /// [`Error::NotPermitted`], [`Error::Database`].
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        check(to)?;
        let client = self.outside(&[from]).await?;
        client
            .batch_execute(&rename(from, to))
            .await
            .map_err(|error| Error::about(to, "rename databases", error))
    }

    /// Puts the database `new` in the place of the database `name`, which is kept as `previous`:
    /// privileges and settings of the database as a whole go to the new one, sessions are ended,
    /// and both are renamed in one transaction, so that at no moment the name leads nowhere or to
    /// half a database.
    ///
    /// # Errors
    /// As those of [`Self::rename`]; then nothing has changed.
    pub async fn replace(&self, name: &str, new: &str, previous: &str) -> Result<(), Error> {
        check(previous)?;
        if let Some(client) = self.find_outside(&[name, new]).await? {
            let watcher = self.outside(&[name, new]).await?;
            return swap(client, &watcher, name, new, previous).await;
        }
        // A role that may enter no database but this one: it makes itself another to work from.
        let room = room_of(new);
        self.create(&room, "", false).await?;
        let swapped = async {
            let (client, watcher) = (self.connect(&room).await?, self.connect(&room).await?);
            swap(client, &watcher, name, new, previous).await
        };
        let swapped = swapped.await;
        if let Err(error) = self.drop_database(&room).await {
            let error = bunbun_core::error::chain(&error);
            tracing::warn!(database = room, error, "an empty database was not dropped");
        }
        swapped
    }

    /// Drops a database into which a restore was loading, with its sessions. One that is not there
    /// is dropped already.
    ///
    /// # Errors
    /// [`Error::NotPermitted`], [`Error::InUse`], [`Error::Database`].
    pub async fn drop_working(&self, name: &str) -> Result<(), Error> {
        if !name.starts_with(WORKING_PREFIX) {
            return Err(crate::postgres::Error::internal("no name of a working database").into());
        }
        self.drop_database(&room_of(name)).await?;
        self.drop_database(name).await
    }

    async fn drop_database(&self, name: &str) -> Result<(), Error> {
        check(name)?;
        let client = self.outside(&[name]).await?;
        client
            .batch_execute(&format!(
                "drop database if exists {} with (force)",
                identifier(name)
            ))
            .await
            .map_err(|error| Error::about(name, "drop databases", error))
    }

    async fn connect(&self, name: &str) -> Result<Client, Error> {
        let connected = self.0.connect(Some(name)).await;
        connected.map_err(|error| not_connected(name, error))
    }

    /// A session in none of the given databases, which it is to work on.
    async fn outside(&self, of: &[&str]) -> Result<Client, Error> {
        let found = self.find_outside(of).await?;
        found.ok_or_else(|| crate::postgres::Error::internal("no database to work from").into())
    }

    /// As [`Self::outside`]; `None` where our role may enter no other database.
    async fn find_outside(&self, of: &[&str]) -> Result<Option<Client>, Error> {
        for name in ["postgres", "template1"] {
            if of.contains(&name) {
                continue;
            }
            match self.0.connect(Some(name)).await {
                Ok(client) => return Ok(Some(client)),
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(not_connected(name, error)),
            }
        }
        // The URL's own database, while something else than itself is worked on.
        let client = match self.0.connect(None).await {
            Ok(client) => client,
            Err(error) if is_refusal(&error) => return Ok(None),
            Err(error) => return Err(not_connected("", error)),
        };
        let current: String = client
            .query_one("select current_database()::text", &[])
            .await
            .map_err(crate::postgres::Error::from_own_statement)?
            .get(0);
        Ok((!of.contains(&current.as_str())).then_some(client))
    }
}

/// The name of the empty database from which a role that may enter no other one works.
fn room_of(working: &str) -> String {
    format!("{working}_room")
}

/// See [`Server::replace`]. Both sessions are in neither database.
async fn swap(
    mut client: Client,
    watcher: &Client,
    name: &str,
    new: &str,
    previous: &str,
) -> Result<(), Error> {
    copy_settings(&client, name, new).await?;
    let failed = |error| Error::about(name, "rename databases", error);
    let transaction = client.transaction().await.map_err(failed)?;
    // PostgreSQL keeps new sessions out as soon as the renaming begins, and then waits five
    // seconds for the others to go; they are told to meanwhile.
    let renaming = rename(name, previous);
    tokio::select! {
        biased;
        renamed = transaction.batch_execute(&renaming) => renamed.map_err(failed)?,
        error = terminate_sessions(watcher, name) => return Err(error),
    }
    transaction
        .batch_execute(&rename(new, name))
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Refuses what PostgreSQL would silently cut off.
fn check(name: &str) -> Result<(), Error> {
    if (1..=63).contains(&name.len()) && !name.contains('\0') {
        Ok(())
    } else {
        Err(Error::InvalidName)
    }
}

/// Whether the server answered, but does not let us into this database.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    matches!(
        error.code(),
        Some(
            &SqlState::INVALID_CATALOG_NAME
                | &SqlState::INSUFFICIENT_PRIVILEGE
                | &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
                | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        )
    )
}

fn not_connected(name: &str, error: tokio_postgres::Error) -> Error {
    if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) {
        Error::DatabaseMissing(name.to_owned())
    } else {
        crate::postgres::Error::unavailable(error).into()
    }
}

/// Tells the database's sessions to end, again and again; answers only when it cannot.
async fn terminate_sessions(client: &Client, name: &str) -> Error {
    loop {
        // One session that we may not end must not keep us from ending the others: PostgreSQL
        // itself then refuses the renaming.
        let told = client
            .execute(
                "select pg_terminate_backend(a.pid) from pg_stat_activity a \
                 cross join (select rolsuper from pg_roles where rolname = current_user) me \
                 left join pg_roles theirs on theirs.oid = a.usesysid \
                 where a.datname = $1 and (me.rolsuper or (not coalesce(theirs.rolsuper, true) \
                 and (pg_has_role(a.usesysid, 'usage') \
                 or pg_has_role('pg_signal_backend', 'usage'))))",
                &[&name],
            )
            .await;
        if let Err(error) = told {
            return Error::about(name, "end sessions", error);
        }
        tokio::time::sleep(TERMINATE_EVERY).await;
    }
}

/// Gives the database `to` what a dump does not hold of the database `from`: privileges,
/// connection limit, and settings, also those for one role. All or nothing: a database that
/// everyone may enter must not take the place of one that few may.
async fn copy_settings(client: &Client, from: &str, to: &str) -> Result<(), Error> {
    let target = identifier(to);
    let mut statements = privileges(client, from, &target).await?;
    statements.extend(settings(client, from, &target).await?);
    for (what, sql) in statements {
        client.batch_execute(&sql).await.map_err(|error| {
            let action = format!("give the restored database the {what} of the old one");
            Error::about(from, &action, error)
        })?;
    }
    Ok(())
}

/// What gives the database `target` the connection limit and the privileges of `from`.
async fn privileges(
    client: &Client,
    from: &str,
    target: &str,
) -> Result<Vec<(String, String)>, Error> {
    let failed = |error| Error::about(from, "read the database's privileges", error);
    let row = client
        .query_one(
            "select datconnlimit, datacl is null from pg_catalog.pg_database where datname = $1",
            &[&from],
        )
        .await
        .map_err(failed)?;
    let limit: i32 = row.get(0);
    let mut sql = format!("alter database {target} connection limit {limit};\n");
    if row.get(1) {
        // Never granted or revoked: what every role may by default.
        sql += &format!("grant connect, temporary on database {target} to public;\n");
    } else {
        let grants = client
            .query(
                "select acl.privilege_type, acl.is_grantable, r.rolname::text \
                 from pg_catalog.pg_database d cross join aclexplode(d.datacl) acl \
                 left join pg_catalog.pg_roles r on r.oid = acl.grantee where d.datname = $1",
                &[&from],
            )
            .await
            .map_err(failed)?;
        for grant in grants {
            let grantee = grant
                .get::<_, Option<&str>>(2)
                .map_or_else(|| "public".to_owned(), identifier);
            let privilege: &str = grant.get(0);
            let option = if grant.get(1) {
                " with grant option"
            } else {
                ""
            };
            sql += &format!("grant {privilege} on database {target} to {grantee}{option};\n");
        }
    }
    Ok(vec![("privileges".to_owned(), sql)])
}

/// What gives the database `target` the settings of `from`.
async fn settings(
    client: &Client,
    from: &str,
    target: &str,
) -> Result<Vec<(String, String)>, Error> {
    let rows = client
        .query(
            "select r.rolname::text, setting from pg_catalog.pg_db_role_setting s \
             join pg_catalog.pg_database d on d.oid = s.setdatabase \
             left join pg_catalog.pg_roles r on r.oid = s.setrole \
             cross join unnest(s.setconfig) setting where d.datname = $1",
            &[&from],
        )
        .await
        .map_err(|error| Error::about(from, "read the database's settings", error))?;
    let mut statements = Vec::new();
    for row in rows {
        let Some((name, value)) = row.get::<_, &str>(1).split_once('=') else {
            continue;
        };
        let role = row.get::<_, Option<&str>>(0);
        let role = role.map_or_else(String::new, |role| format!("role {} in ", identifier(role)));
        let (parameter, value) = (parameter(name), setting(name, value));
        statements.push((
            format!("setting '{name}'"),
            format!("alter {role}database {target} set {parameter} to {value}"),
        ));
    }
    Ok(statements)
}

/// The clauses of `create database` that give it the model's encoding and locale.
fn locale(model: &Value) -> String {
    let mut sql = String::new();
    let mut clause = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            sql += &format!(" {name} {}", literal(value));
        }
    };
    clause("encoding", model["encoding_name"].as_str());
    clause("lc_collate", model["datcollate"].as_str());
    clause("lc_ctype", model["datctype"].as_str());
    // PostgreSQL 15 has `daticulocale`, 17 calls it `datlocale`; older ones have no providers.
    let name = model["datlocale"]
        .as_str()
        .or(model["daticulocale"].as_str());
    match model["datlocprovider"].as_str() {
        Some("i") => {
            clause("icu_locale", name);
            clause("icu_rules", model["daticurules"].as_str());
            sql += " locale_provider icu";
        }
        Some("b") => {
            clause("builtin_locale", name);
            sql += " locale_provider builtin";
        }
        _ => {}
    }
    sql
}

fn rename(from: &str, to: &str) -> String {
    format!(
        "alter database {} rename to {}",
        identifier(from),
        identifier(to)
    )
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("e'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The name of a setting: words joined by points, each quoted.
fn parameter(name: &str) -> String {
    name.split('.')
        .map(identifier)
        .collect::<Vec<_>>()
        .join(".")
}

/// The value of a setting as it is stored, as it is written.
fn setting(name: &str, value: &str) -> String {
    if !NAME_LISTS.contains(&name.to_ascii_lowercase().as_str()) {
        return literal(value);
    }
    let names = split_names(value);
    if names.is_empty() {
        return "''".to_owned();
    }
    names
        .iter()
        .map(|name| literal(name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Splits `"$user", public` into its names.
fn split_names(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            c if c.is_ascii_whitespace() && !quoted => {}
            c => name.push(c),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{identifier, literal, locale, parameter, setting, split_names};

    #[test]
    fn names_and_values_cannot_break_out() {
        assert_eq!(
            identifier(r#"a"; drop database b; --"#),
            r#""a""; drop database b; --""#
        );
        assert_eq!(literal(r"a'; drop \' x"), r"e'a''; drop \\'' x'");
        assert_eq!(
            parameter("app.settings.jwt\""),
            r#""app"."settings"."jwt""""#
        );
    }

    #[test]
    fn lists_of_names_are_taken_apart() {
        assert_eq!(
            split_names(r#""$user", public, "a ""b"", c""#),
            ["$user", "public", r#"a "b", c"#]
        );
        assert_eq!(
            setting("search_path", r#""$user", public"#),
            "e'$user', e'public'"
        );
        assert_eq!(setting("search_path", r#""""#), "''");
        assert_eq!(setting("work_mem", "a, b"), "e'a, b'");
    }

    #[test]
    fn locales_of_every_version_are_kept() {
        let libc = json!({"encoding_name": "UTF8", "datcollate": "C.UTF-8", "datctype": "C.UTF-8"});
        assert_eq!(
            locale(&libc),
            " encoding e'UTF8' lc_collate e'C.UTF-8' lc_ctype e'C.UTF-8'"
        );
        let icu = json!({"datlocprovider": "i", "daticulocale": "de"});
        assert_eq!(locale(&icu), " icu_locale e'de' locale_provider icu");
        let builtin = json!({"datlocprovider": "b", "datlocale": "C.UTF-8"});
        assert_eq!(
            locale(&builtin),
            " builtin_locale e'C.UTF-8' locale_provider builtin"
        );
    }
}
