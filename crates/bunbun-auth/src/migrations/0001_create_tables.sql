-- The tables of auth under the names, columns and types that clients, dashboards and users' own
-- policies know from the original. Where the original has made them, everything stays as it is
-- and only columns that an older release of it lacks are added.

do $bunbun$ begin
  if to_regtype('auth.factor_type') is null then
    create type auth.factor_type as enum ('totp', 'webauthn', 'phone');
  end if;
  if to_regtype('auth.factor_status') is null then
    create type auth.factor_status as enum ('unverified', 'verified');
  end if;
  if to_regtype('auth.aal_level') is null then
    create type auth.aal_level as enum ('aal1', 'aal2', 'aal3');
  end if;
  if to_regtype('auth.code_challenge_method') is null then
    create type auth.code_challenge_method as enum ('s256', 'plain');
  end if;
  if to_regtype('auth.one_time_token_type') is null then
    create type auth.one_time_token_type as enum (
      'confirmation_token', 'reauthentication_token', 'recovery_token',
      'email_change_token_new', 'email_change_token_current', 'phone_change_token'
    );
  end if;
end $bunbun$;

create table if not exists auth.users (
  instance_id uuid,
  id uuid primary key,
  aud varchar(255),
  role varchar(255),
  email varchar(255),
  encrypted_password varchar(255),
  email_confirmed_at timestamptz,
  invited_at timestamptz,
  confirmation_token varchar(255),
  confirmation_sent_at timestamptz,
  recovery_token varchar(255),
  recovery_sent_at timestamptz,
  email_change_token_new varchar(255),
  email_change varchar(255),
  email_change_sent_at timestamptz,
  last_sign_in_at timestamptz,
  raw_app_meta_data jsonb,
  raw_user_meta_data jsonb,
  is_super_admin boolean,
  created_at timestamptz,
  updated_at timestamptz,
  phone text default null unique,
  phone_confirmed_at timestamptz,
  phone_change text default '',
  phone_change_token varchar(255) default '',
  phone_change_sent_at timestamptz,
  confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  email_change_token_current varchar(255) default '',
  email_change_confirm_status smallint default 0 check (email_change_confirm_status between 0 and 2),
  banned_until timestamptz,
  reauthentication_token varchar(255) default '',
  reauthentication_sent_at timestamptz,
  is_sso_user boolean not null default false,
  deleted_at timestamptz,
  is_anonymous boolean not null default false
) with (fillfactor = 85);

create table if not exists auth.identities (
  provider_id text not null,
  user_id uuid not null references auth.users (id) on delete cascade,
  identity_data jsonb not null,
  provider text not null,
  last_sign_in_at timestamptz,
  created_at timestamptz,
  updated_at timestamptz,
  email text generated always as (lower(identity_data ->> 'email')) stored,
  id uuid primary key default gen_random_uuid(),
  constraint identities_provider_id_provider_unique unique (provider_id, provider)
);

create table if not exists auth.sessions (
  id uuid primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz,
  updated_at timestamptz,
  factor_id uuid,
  aal auth.aal_level,
  not_after timestamptz,
  refreshed_at timestamp,
  user_agent text,
  ip inet,
  tag text
) with (fillfactor = 80);

create table if not exists auth.refresh_tokens (
  instance_id uuid,
  id bigserial primary key,
  token varchar(255) constraint refresh_tokens_token_unique unique,
  user_id varchar(255),
  revoked boolean,
  created_at timestamptz,
  updated_at timestamptz,
  parent varchar(255),
  session_id uuid references auth.sessions (id) on delete cascade
) with (fillfactor = 85);

create table if not exists auth.mfa_factors (
  id uuid primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  friendly_name text,
  factor_type auth.factor_type not null,
  status auth.factor_status not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  secret text,
  phone text,
  last_challenged_at timestamptz,
  web_authn_credential jsonb,
  web_authn_aaguid uuid,
  last_webauthn_challenge_data jsonb
);

create table if not exists auth.mfa_challenges (
  id uuid primary key,
  factor_id uuid not null constraint mfa_challenges_auth_factor_id_fkey
    references auth.mfa_factors (id) on delete cascade,
  created_at timestamptz not null,
  verified_at timestamptz,
  ip_address inet not null,
  otp_code text,
  web_authn_session_data jsonb
);

create table if not exists auth.mfa_amr_claims (
  session_id uuid not null references auth.sessions (id) on delete cascade,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  authentication_method text not null,
  id uuid not null constraint amr_id_pk primary key,
  constraint mfa_amr_claims_session_id_authentication_method_pkey
    unique (session_id, authentication_method)
);

create table if not exists auth.one_time_tokens (
  id uuid primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  token_type auth.one_time_token_type not null,
  token_hash text not null check (char_length(token_hash) > 0),
  relates_to text not null,
  created_at timestamp not null default now(),
  updated_at timestamp not null default now()
);

create table if not exists auth.flow_state (
  id uuid primary key,
  user_id uuid,
  auth_code text not null,
  code_challenge_method auth.code_challenge_method not null,
  code_challenge text not null,
  provider_type text not null,
  provider_access_token text,
  provider_refresh_token text,
  created_at timestamptz,
  updated_at timestamptz,
  authentication_method text not null,
  auth_code_issued_at timestamptz
);

create table if not exists auth.audit_log_entries (
  instance_id uuid,
  id uuid primary key,
  payload json,
  created_at timestamptz,
  ip_address varchar(64) not null default ''
);

create table if not exists auth.sso_providers (
  id uuid primary key,
  resource_id text,
  created_at timestamptz,
  updated_at timestamptz,
  disabled boolean
);

create table if not exists auth.sso_domains (
  id uuid primary key,
  sso_provider_id uuid not null references auth.sso_providers (id) on delete cascade,
  domain text not null check (char_length(domain) > 0),
  created_at timestamptz,
  updated_at timestamptz
);

create table if not exists auth.saml_providers (
  id uuid primary key,
  sso_provider_id uuid not null references auth.sso_providers (id) on delete cascade,
  entity_id text not null unique check (char_length(entity_id) > 0),
  metadata_xml text not null check (char_length(metadata_xml) > 0),
  metadata_url text,
  attribute_mapping jsonb,
  created_at timestamptz,
  updated_at timestamptz,
  name_id_format text
);

create table if not exists auth.saml_relay_states (
  id uuid primary key,
  sso_provider_id uuid not null references auth.sso_providers (id) on delete cascade,
  request_id text not null check (char_length(request_id) > 0),
  for_email text,
  redirect_to text,
  created_at timestamptz,
  updated_at timestamptz,
  flow_state_id uuid references auth.flow_state (id) on delete cascade
);

-- What an older release of the original lacks. A column that is there is not touched: its table
-- may be another role's.
do $bunbun$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('users', 'email_change_token_current', 'varchar(255) default '''''),
      ('users', 'email_change_confirm_status', 'smallint default 0'),
      ('users', 'banned_until', 'timestamptz'),
      ('users', 'reauthentication_token', 'varchar(255) default '''''),
      ('users', 'reauthentication_sent_at', 'timestamptz'),
      ('users', 'is_sso_user', 'boolean not null default false'),
      ('users', 'deleted_at', 'timestamptz'),
      ('users', 'is_anonymous', 'boolean not null default false'),
      ('sessions', 'factor_id', 'uuid'),
      ('sessions', 'aal', 'auth.aal_level'),
      ('sessions', 'not_after', 'timestamptz'),
      ('sessions', 'refreshed_at', 'timestamp'),
      ('sessions', 'user_agent', 'text'),
      ('sessions', 'ip', 'inet'),
      ('sessions', 'tag', 'text'),
      ('refresh_tokens', 'parent', 'varchar(255)'),
      ('refresh_tokens', 'session_id', 'uuid references auth.sessions (id) on delete cascade'),
      ('mfa_factors', 'phone', 'text'),
      ('mfa_factors', 'last_challenged_at', 'timestamptz'),
      ('mfa_challenges', 'otp_code', 'text'),
      ('flow_state', 'authentication_method', 'text not null default ''oauth'''),
      ('flow_state', 'auth_code_issued_at', 'timestamptz'),
      ('audit_log_entries', 'ip_address', 'varchar(64) not null default ''''')
    ) as columns (table_name, column_name, definition)
    where not exists (
      select from pg_attribute
      where attrelid = to_regclass('auth.' || table_name)
        and attname = column_name and not attisdropped
    )
  loop
    execute format('alter table auth.%I add column %I %s',
      wanted.table_name, wanted.column_name, wanted.definition);
  end loop;
end $bunbun$;

-- Indexes and row-level security of tables that are ours. The original's tables have their own.
do $bunbun$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('users_instance_id_email_idx', 'users', 'create index users_instance_id_email_idx on auth.users (instance_id, lower(email::text))'),
      ('users_email_partial_key', 'users', 'create unique index users_email_partial_key on auth.users (email) where is_sso_user = false'),
      ('users_created_at_idx', 'users', 'create index users_created_at_idx on auth.users (created_at desc, id)'),
      ('confirmation_token_idx', 'users', 'create unique index confirmation_token_idx on auth.users (confirmation_token) where confirmation_token !~ ''^[0-9 ]*$'''),
      ('recovery_token_idx', 'users', 'create unique index recovery_token_idx on auth.users (recovery_token) where recovery_token !~ ''^[0-9 ]*$'''),
      ('identities_user_id_idx', 'identities', 'create index identities_user_id_idx on auth.identities (user_id)'),
      ('identities_email_idx', 'identities', 'create index identities_email_idx on auth.identities (email text_pattern_ops)'),
      ('sessions_user_id_idx', 'sessions', 'create index sessions_user_id_idx on auth.sessions (user_id)'),
      ('refresh_tokens_session_id_idx', 'refresh_tokens', 'create index refresh_tokens_session_id_idx on auth.refresh_tokens (session_id)'),
      ('mfa_factors_user_id_idx', 'mfa_factors', 'create index mfa_factors_user_id_idx on auth.mfa_factors (user_id)'),
      ('mfa_factors_user_friendly_name_unique', 'mfa_factors', 'create unique index mfa_factors_user_friendly_name_unique on auth.mfa_factors (friendly_name, user_id) where trim(friendly_name) <> '''''),
      ('mfa_challenges_factor_id_idx', 'mfa_challenges', 'create index mfa_challenges_factor_id_idx on auth.mfa_challenges (factor_id)'),
      ('one_time_tokens_token_hash_hash_idx', 'one_time_tokens', 'create index one_time_tokens_token_hash_hash_idx on auth.one_time_tokens using hash (token_hash)'),
      ('one_time_tokens_user_id_token_type_key', 'one_time_tokens', 'create unique index one_time_tokens_user_id_token_type_key on auth.one_time_tokens (user_id, token_type)'),
      ('idx_auth_code', 'flow_state', 'create index idx_auth_code on auth.flow_state (auth_code)'),
      ('idx_user_id_auth_method', 'flow_state', 'create index idx_user_id_auth_method on auth.flow_state (user_id, authentication_method)'),
      ('flow_state_created_at_idx', 'flow_state', 'create index flow_state_created_at_idx on auth.flow_state (created_at desc)'),
      ('audit_logs_created_at_idx', 'audit_log_entries', 'create index audit_logs_created_at_idx on auth.audit_log_entries (created_at desc)')
    ) as indexes (index_name, table_name, definition)
    where to_regclass('auth.' || index_name) is null
      and to_regclass('auth.schema_migrations') is null
  loop
    execute wanted.definition;
  end loop;
  if to_regclass('auth.schema_migrations') is null then
    for wanted in
      select relname from pg_class
      where relnamespace = 'auth'::regnamespace and relkind = 'r' and not relrowsecurity
        and pg_has_role(relowner, 'usage')
    loop
      execute format('alter table auth.%I enable row level security', wanted.relname);
    end loop;
  end if;
end $bunbun$;
