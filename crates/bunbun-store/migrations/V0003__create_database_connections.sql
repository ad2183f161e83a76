-- Stored connections to databases, the keys that their passwords are encrypted with, and the log of
-- who changed what.

-- One data key per project, wrapped by the installation's master key (DATABASE_ENCRYPTION_KEY).
create table platform.data_keys (
    id uuid primary key,
    project_ref text not null,
    wrapped_key bytea not null,
    master_key_id text not null,
    created_at timestamptz not null default now(),
    rewrapped_at timestamptz
);

create unique index data_keys_of_project on platform.data_keys (project_ref);

comment on table platform.data_keys is 'Data keys of projects, wrapped; `bunbun keys rotate` re-wraps them';
comment on column platform.data_keys.master_key_id is 'Names the master key that wrapped it; also in the header of wrapped_key';

create table platform.database_connections (
    id uuid primary key,
    project_ref text not null,
    database_type text not null
        constraint database_connections_type check (database_type in ('postgres', 'redis', 'mongodb')),
    identifier text not null
        constraint database_connections_identifier_form check (identifier ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    host text not null,
    port integer not null,
    more_hosts jsonb not null default '[]',
    database_name text,
    username text,
    password bytea,
    tls text not null
        constraint database_connections_tls check (tls in ('disable', 'prefer', 'require', 'verify-full')),
    options jsonb not null default '{}',
    is_primary boolean not null default false,
    status text not null default 'INACTIVE'
        constraint database_connections_status check (status in ('ACTIVE', 'INACTIVE', 'ERROR', 'CONNECTING')),
    last_error text,
    last_checked_at timestamptz,
    -- Counts changes of the settings: pools and If-Match go by it. A new status is no change.
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create unique index database_connections_identifier on platform.database_connections (project_ref, identifier);

-- One primary connection of each kind per project.
create unique index database_connections_primary on platform.database_connections (project_ref, database_type) where is_primary;

-- Ids are UUIDs of version 7: their order is the order of creation.
create index database_connections_of_project on platform.database_connections (project_ref, database_type, id);

comment on table platform.database_connections is 'Stored connections to databases (/api/platform/{kind}/{ref}/connections)';
comment on column platform.database_connections.password is 'AES-256-GCM with the project''s data key; bound to project, column and row';

-- Who changed what. Written before the change; status is null until the answer is known.
create table platform.audit_log (
    id uuid primary key,
    project_ref text not null,
    actor_kind text not null,
    actor_id text,
    action text not null,
    target text,
    request_id text not null,
    client_ip text not null,
    status smallint,
    created_at timestamptz not null default now(),
    finished_at timestamptz
);

create index audit_log_of_project on platform.audit_log (project_ref, id desc);

comment on table platform.audit_log is 'Every attempt to change something below /api/platform; never a value';
