//! `GET …/triggers`, of `pg_trigger`.

use super::List;

/// The triggers that somebody made; those of foreign keys are PostgreSQL's own business.
pub const TRIGGERS: List = List {
    from: "pg_trigger t join pg_class c on c.oid = t.tgrelid and not t.tgisinternal \
           join pg_namespace n on n.oid = c.relnamespace \
           join pg_proc p on p.oid = t.tgfoid \
           join pg_namespace f on f.oid = p.pronamespace \
           left join {locked} l on l.relation = c.oid",
    key: &["n.nspname", "c.relname", "t.tgname"],
    schema: Some("n.nspname"),
    table: Some("c.relname"),
    name: "t.tgname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    // The bits of `tgtype`, as PostgreSQL's catalog/pg_trigger.h has them.
    item: "n.nspname as schema, c.relname as \"table\", t.tgname as name, \
           case when t.tgtype & 64 <> 0 then 'INSTEAD OF' when t.tgtype & 2 <> 0 then 'BEFORE' \
                else 'AFTER' end as timing, \
           array_remove(array[case when t.tgtype & 4 <> 0 then 'INSERT' end, \
                              case when t.tgtype & 16 <> 0 then 'UPDATE' end, \
                              case when t.tgtype & 8 <> 0 then 'DELETE' end, \
                              case when t.tgtype & 32 <> 0 then 'TRUNCATE' end], null) as events, \
           case when t.tgtype & 1 <> 0 then 'ROW' else 'STATEMENT' end as level, \
           case t.tgenabled when 'D' then 'disabled' when 'R' then 'replica' when 'A' then 'always' \
                            else 'enabled' end as state, \
           f.nspname as function_schema, p.proname as function, \
           case when l.relation is null then pg_get_triggerdef(t.oid, true) end as definition, \
           obj_description(t.oid, 'pg_trigger') as comment",
};
