//! `GET …/columns`, of `pg_attribute`.

use super::List;

/// The columns of tables and views, in their order.
pub const COLUMNS: List = List {
    from: "pg_attribute a join pg_class c on c.oid = a.attrelid \
           and c.relkind in ('r', 'v', 'm', 'f', 'p') and a.attnum > 0 and not a.attisdropped \
           join pg_namespace n on n.oid = c.relnamespace \
           join pg_type t on t.oid = a.atttypid \
           left join pg_attrdef v on v.adrelid = a.attrelid and v.adnum = a.attnum \
           left join {locked} l on l.relation = c.oid",
    key: &["n.nspname", "c.relname", "lpad(a.attnum::text, 5, '0')"],
    schema: Some("n.nspname"),
    table: Some("c.relname"),
    name: "a.attname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    item: "n.nspname as schema, c.relname as \"table\", a.attname as name, \
           a.attnum as position, format_type(a.atttypid, a.atttypmod) as type, \
           not (a.attnotnull or t.typtype = 'd' and t.typnotnull) as nullable, \
           case when l.relation is null and a.attgenerated = '' \
                then pg_get_expr(v.adbin, v.adrelid) end as \"default\", \
           case when l.relation is null and a.attgenerated <> '' \
                then pg_get_expr(v.adbin, v.adrelid) end as generated, \
           case a.attidentity when 'a' then 'always' when 'd' then 'by_default' end as identity, \
           exists(select from pg_index x where x.indrelid = c.oid and x.indisprimary \
                  and a.attnum = any(x.indkey::int2[])) as primary_key, \
           (select array_agg(e.enumlabel order by e.enumsortorder) from pg_enum e \
             where e.enumtypid = case when t.typtype = 'd' then t.typbasetype \
                                      when t.typcategory = 'A' then t.typelem else t.oid end) \
             as enum_values, \
           col_description(c.oid, a.attnum) as comment",
};
