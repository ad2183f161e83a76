//! `GET …/functions`, of `pg_proc`.

use super::List;

/// The functions, procedures, aggregates and window functions; one item for each signature. To
/// tell the definition of one whose body is parsed SQL, PostgreSQL locks all that it reads.
pub const FUNCTIONS: List = List {
    from: "pg_proc p join pg_namespace n on n.oid = p.pronamespace \
           join pg_language g on g.oid = p.prolang",
    key: &["n.nspname", "p.proname", "lpad(p.oid::text, 10, '0')"],
    schema: Some("n.nspname"),
    table: None,
    name: "p.proname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    item: "n.nspname as schema, p.proname as name, \
           case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' \
                          when 'w' then 'window' else 'function' end as kind, \
           pg_get_function_arguments(p.oid) as arguments, \
           pg_get_function_result(p.oid) as returns, g.lanname as language, \
           case p.provolatile when 'i' then 'immutable' when 's' then 'stable' \
                              else 'volatile' end as volatility, \
           p.prosecdef as security_definer, p.proisstrict as strict, \
           pg_get_userbyid(p.proowner) as owner, \
           case when $6 and p.prokind in ('f', 'p', 'w') \
                     and (g.lanname <> 'sql' or not exists(select from {locked} k)) \
                then pg_get_functiondef(p.oid) end as definition, \
           (select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid \
             where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e' \
             limit 1) as extension, \
           obj_description(p.oid, 'pg_proc') as comment",
};
