-- Which stored connection a change was made on; null for the project's own database, and for what
-- is about no database.
alter table platform.audit_log add column connection_id uuid;
