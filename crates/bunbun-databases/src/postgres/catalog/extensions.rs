//! `GET …/extensions`, of `pg_available_extensions` and `pg_extension`.

use super::List;

/// The extensions that are installed or could be.
pub const EXTENSIONS: List = List {
    from: "(select coalesce(e.extname::text, a.name::text) as name, a.default_version, a.comment, \
                   e.extversion, e.extnamespace, e.oid \
            from pg_available_extensions() a full join pg_extension e on e.extname = a.name) x \
           left join pg_namespace n on n.oid = x.extnamespace",
    key: &["x.name"],
    schema: Some("n.nspname"),
    table: None,
    name: "x.name",
    system: None,
    item: "x.name, x.oid is not null as installed, n.nspname as schema, \
           x.extversion as installed_version, x.default_version, x.comment",
};
