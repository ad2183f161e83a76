//! `GET …/views`, of `pg_class`.

use super::List;

/// The views and materialized views. To tell a definition, PostgreSQL locks all that it reads; to
/// tell whether a view can be written, all below it.
pub const VIEWS: List = List {
    from: "pg_class c join pg_namespace n on n.oid = c.relnamespace and c.relkind in ('v', 'm') \
           left join {locked} l on l.relation = c.oid",
    key: &["n.nspname", "c.relname"],
    schema: Some("n.nspname"),
    table: None,
    name: "c.relname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    item: "n.nspname as schema, c.relname as name, \
           case c.relkind when 'm' then 'materialized_view' else 'view' end as kind, \
           pg_get_userbyid(c.relowner) as owner, c.relispopulated as populated, \
           coalesce('security_invoker=true' = any(c.reloptions) \
                    or 'security_invoker=on' = any(c.reloptions), false) as security_invoker, \
           case when not exists(select from {locked} k) \
                then pg_relation_is_updatable(c.oid, false) & 28 = 28 end as updatable, \
           case when $6 and not exists( \
                  select from pg_rewrite w join pg_depend d on d.classid = 'pg_rewrite'::regclass \
                    and d.objid = w.oid and d.refclassid = 'pg_class'::regclass \
                  join {locked} k on k.relation = d.refobjid where w.ev_class = c.oid) \
                then pg_get_viewdef(c.oid, true) end as definition, \
           case when c.relkind = 'm' and l.relation is null \
                then pg_total_relation_size(c.oid) end as bytes, \
           obj_description(c.oid, 'pg_class') as comment",
};
