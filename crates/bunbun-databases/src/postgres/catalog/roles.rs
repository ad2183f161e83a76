//! `GET …/roles`, of `pg_roles`.
//!
//! Without passwords, which nobody reads, and without the settings of roles, where some keep
//! secrets.

use super::List;

/// The roles of the server.
pub const ROLES: List = List {
    from: "pg_roles r",
    key: &["r.rolname"],
    schema: None,
    table: None,
    name: "r.rolname",
    system: Some("r.rolname ~ '^pg_'"),
    item: "r.rolname as name, r.rolcanlogin as login, r.rolsuper as superuser, \
           r.rolinherit as inherit, r.rolcreatedb as create_databases, \
           r.rolcreaterole as create_roles, r.rolreplication as replication, \
           r.rolbypassrls as bypass_rls, \
           nullif(r.rolconnlimit, -1) as connection_limit, r.rolvaliduntil as valid_until, \
           r.rolname = current_user as current, \
           array(select pg_get_userbyid(m.roleid)::text from pg_auth_members m \
                 where m.member = r.oid order by 1) as member_of, \
           shobj_description(r.oid, 'pg_authid') as comment",
};
