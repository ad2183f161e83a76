//! `GET …/indexes`, of `pg_index`.

use super::List;

/// The indexes, those of primary keys and unique constraints among them.
pub const INDEXES: List = List {
    from: "pg_index x join pg_class i on i.oid = x.indexrelid \
           join pg_am m on m.oid = i.relam \
           join pg_class c on c.oid = x.indrelid and c.relkind in ('r', 'm', 'p') \
           join pg_namespace n on n.oid = c.relnamespace \
           left join {locked} l on l.relation = x.indrelid \
           left join {locked} h on h.relation = x.indexrelid",
    key: &["n.nspname", "c.relname", "i.relname"],
    schema: Some("n.nspname"),
    table: Some("c.relname"),
    name: "i.relname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    item: "n.nspname as schema, c.relname as \"table\", i.relname as name, m.amname as method, \
           x.indisunique as \"unique\", x.indisprimary as \"primary\", x.indisvalid as valid, \
           x.indpred is not null as partial, \
           case when coalesce(l.relation, h.relation) is null then array( \
             select pg_get_indexdef(x.indexrelid, k, true) \
             from generate_series(1, x.indnkeyatts) k order by k) end as key, \
           case when coalesce(l.relation, h.relation) is null \
                then pg_get_indexdef(x.indexrelid) end as definition, \
           case when coalesce(l.relation, h.relation) is null \
                then pg_relation_size(x.indexrelid) end as bytes, \
           pg_stat_get_numscans(x.indexrelid) as scans, \
           obj_description(i.oid, 'pg_class') as comment",
};
