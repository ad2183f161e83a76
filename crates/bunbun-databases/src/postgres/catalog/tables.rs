//! `GET …/tables`, of `pg_class`.

use super::List;

/// The tables: ordinary, partitioned and foreign ones.
pub const TABLES: List = List {
    from: "pg_class c join pg_namespace n on n.oid = c.relnamespace \
           and c.relkind in ('r', 'p', 'f') left join {locked} l on l.relation = c.oid",
    key: &["n.nspname", "c.relname"],
    schema: Some("n.nspname"),
    table: Some("c.relname"),
    name: "c.relname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    // Before the first `analyze`, `reltuples` is -1 and the activity counters know more.
    item: "n.nspname as schema, c.relname as name, \
           case c.relkind when 'p' then 'partitioned_table' when 'f' then 'foreign_table' \
                          else 'table' end as kind, \
           pg_get_userbyid(c.relowner) as owner, \
           case when c.reltuples >= 0 then c.reltuples::int8 \
                when c.relkind = 'r' then pg_stat_get_live_tuples(c.oid) end as rows_estimate, \
           case when l.relation is null and c.relkind <> 'f' \
                then pg_total_relation_size(c.oid) end as bytes, \
           array(select a.attname from pg_index x, unnest(x.indkey::int2[]) with ordinality k(number, place) \
                 join pg_attribute a on a.attnum = k.number and a.attrelid = c.oid \
                 where x.indrelid = c.oid and x.indisprimary and k.place <= x.indnkeyatts \
                 order by k.place) as primary_key, \
           (select count(*) from pg_attribute a \
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns, \
           c.relrowsecurity as rls_enabled, c.relforcerowsecurity as rls_forced, \
           c.relispartition as is_partition, l.relation is not null as locked, \
           obj_description(c.oid, 'pg_class') as comment",
};
