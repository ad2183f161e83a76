-- The schema of the control plane. It may exist: the history of migrations lies in it.
create schema if not exists platform;

comment on schema platform is 'BunBun''s control plane. Its tables are BunBun''s own; do not write to them.';
