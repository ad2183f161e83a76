//! `GET …/schemas`, of `pg_namespace`.

use super::List;

/// The schemas.
pub const SCHEMAS: List = List {
    from: "pg_namespace n",
    key: &["n.nspname"],
    schema: Some("n.nspname"),
    table: None,
    name: "n.nspname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    item: "n.nspname as name, pg_get_userbyid(n.nspowner) as owner, \
           n.nspname ~ '^pg_' or n.nspname = 'information_schema' as system, \
           (select count(*) from pg_class c \
             where c.relnamespace = n.oid and c.relkind in ('r', 'p', 'f')) as tables, \
           (select count(*) from pg_class c \
             where c.relnamespace = n.oid and c.relkind in ('v', 'm')) as views, \
           (select count(*) from pg_proc p where p.pronamespace = n.oid) as functions, \
           obj_description(n.oid, 'pg_namespace') as comment",
};
