-- Every node keeps what it knows of stored connections, and their pools, for minutes. A change tells
-- all of them: the listener is `bunbun_store::database_connections::watch`.

create function platform.tell_connection_change() returns trigger
    language plpgsql
    set search_path = pg_catalog
as $$
begin
    if tg_op = 'INSERT' then
        perform pg_notify('bunbun_connections', concat_ws(' ', new.project_ref, new.id, 0));
    elsif tg_op = 'UPDATE' then
        perform pg_notify('bunbun_connections', concat_ws(' ', old.project_ref, old.id, old.version));
    else
        perform pg_notify('bunbun_connections', concat_ws(' ', old.project_ref, old.id, 9223372036854775807));
    end if;
    return null;
end
$$;

create trigger tell_connection_change
    after insert or delete on platform.database_connections
    for each row execute function platform.tell_connection_change();

-- A new status is no change.
create trigger tell_connection_update
    after update on platform.database_connections
    for each row when (old.version is distinct from new.version)
    execute function platform.tell_connection_change();

comment on function platform.tell_connection_change() is 'NOTIFY bunbun_connections: project, id, and the newest version that is past';
