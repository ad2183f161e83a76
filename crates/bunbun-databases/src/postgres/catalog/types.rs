//! `GET …/types`, of `pg_type`.

use super::List;

/// The types that somebody made; those of tables' rows and of arrays follow from others.
pub const TYPES: List = List {
    from: "pg_type t join pg_namespace n on n.oid = t.typnamespace \
           and (t.typtype in ('e', 'd', 'r', 'm') or t.typtype = 'b' and t.typcategory <> 'A' \
                or t.typtype = 'c' and exists(select from pg_class c \
                                              where c.oid = t.typrelid and c.relkind = 'c'))",
    key: &["n.nspname", "t.typname"],
    schema: Some("n.nspname"),
    table: None,
    name: "t.typname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    item: "n.nspname as schema, t.typname as name, \
           case t.typtype when 'e' then 'enum' when 'd' then 'domain' when 'r' then 'range' \
                          when 'm' then 'multirange' when 'c' then 'composite' else 'base' end \
             as kind, \
           pg_get_userbyid(t.typowner) as owner, \
           (select array_agg(e.enumlabel order by e.enumsortorder) from pg_enum e \
             where e.enumtypid = t.oid) as enum_values, \
           (select json_agg(json_build_object('name', a.attname, \
                            'type', format_type(a.atttypid, a.atttypmod)) order by a.attnum) \
              from pg_attribute a where a.attrelid = t.typrelid and t.typrelid <> 0 \
               and a.attnum > 0 and not a.attisdropped) as attributes, \
           case t.typtype when 'd' then format_type(t.typbasetype, t.typtypmod) \
                          when 'r' then (select format_type(r.rngsubtype, null) from pg_range r \
                                          where r.rngtypid = t.oid) end as base_type, \
           (select array_agg(pg_get_constraintdef(k.oid, true) order by k.conname) \
              from pg_constraint k where k.contypid = t.oid) as checks, \
           (select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid \
             where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e' \
             limit 1) as extension, \
           obj_description(t.oid, 'pg_type') as comment",
};
