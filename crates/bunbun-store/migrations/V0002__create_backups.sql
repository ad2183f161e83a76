-- Backups of projects' databases, and for each the last restore from it.
create table platform.backups (
    id uuid primary key,
    project_ref text not null,
    database text not null,
    status text not null default 'running'
        constraint backups_status check (status in ('running', 'succeeded', 'failed')),
    object_key text,
    bytes bigint not null default 0,
    sha256 bytea constraint backups_sha256 check (octet_length(sha256) = 32),
    database_version text not null,
    tables_done integer not null default 0,
    tables_total integer,
    error text,
    created_at timestamptz not null default now(),
    finished_at timestamptz,

    -- The database that is being read or replaced, and the node that is at it. A node that has
    -- not touched heartbeat_at for a while is taken for dead and its work for failed.
    busy_with text,
    node text,
    heartbeat_at timestamptz,

    restore_status text
        constraint backups_restore_status check (restore_status in ('running', 'succeeded', 'failed')),
    restore_database text,
    restore_working_database text,
    restore_previous_database text,
    restore_error text,
    restore_started_at timestamptz,
    restore_finished_at timestamptz,

    constraint backups_lease check ((busy_with is null) = (node is null) and (node is null) = (heartbeat_at is null)),
    constraint backups_busy check ((busy_with is not null) = (status = 'running' or restore_status is not distinct from 'running'))
);

-- One backup or restore at a time per database, whichever node is at it.
create unique index backups_one_at_a_time on platform.backups (project_ref, busy_with) where busy_with is not null;

-- Ids are UUIDs of version 7: their order is the order of creation.
create index backups_of_project on platform.backups (project_ref, id desc);

comment on table platform.backups is 'Backups of projects'' databases (/api/backups)';
comment on column platform.backups.object_key is 'Where the dump lies in the object store; null once it is gone';
comment on column platform.backups.restore_working_database is 'Database into which a restore is loading; null once it has its name or is dropped';
comment on column platform.backups.restore_previous_database is 'The name that the replaced database was kept under';
