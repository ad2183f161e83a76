//! `GET …/policies`, of `pg_policy`.

use super::List;

/// The policies of row-level security. To tell a condition, PostgreSQL locks all that it reads.
pub const POLICIES: List = List {
    from: "pg_policy p join pg_class c on c.oid = p.polrelid \
           join pg_namespace n on n.oid = c.relnamespace \
           left join lateral ( \
             select true as held from pg_depend d join {locked} k on k.relation = d.refobjid \
             where d.classid = 'pg_policy'::regclass and d.objid = p.oid \
               and d.refclassid = 'pg_class'::regclass limit 1) l on true",
    key: &["n.nspname", "c.relname", "p.polname"],
    schema: Some("n.nspname"),
    table: Some("c.relname"),
    name: "p.polname",
    system: Some("n.nspname ~ '^pg_' or n.nspname = 'information_schema'"),
    item: "n.nspname as schema, c.relname as \"table\", p.polname as name, \
           p.polpermissive as permissive, c.relrowsecurity as rls_enabled, \
           case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' \
                         when 'd' then 'DELETE' else 'ALL' end as command, \
           array(select case u.role when 0 then 'public' else pg_get_userbyid(u.role)::text end \
                 from unnest(p.polroles) with ordinality u(role, place) order by u.place) as roles, \
           case when l.held is null then pg_get_expr(p.polqual, p.polrelid) end as \"using\", \
           case when l.held is null then pg_get_expr(p.polwithcheck, p.polrelid) end as \"check\"",
};
