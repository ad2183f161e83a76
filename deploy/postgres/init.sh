#!/usr/bin/env bash
# Run once by the image of PostgreSQL when its volume is new: the roles and databases that
# `bunbun dev` makes in its own cluster (crates/bunbun/src/commands/dev/provision.rs).
#
# Whoever has the service key runs any SQL as project_default. It is therefore no superuser and
# can enter no database but its own.
set -euo pipefail

# The passwords are variables of psql, which quotes them; they are on no command line.
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv project_password PROJECT_PASSWORD
\getenv platform_password PLATFORM_PASSWORD

create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;

create role project_default login createdb password :'project_password';
create database project_default owner project_default;
grant anon, authenticated, service_role to project_default;

create role bunbun login password :'platform_password';
create database bunbun owner bunbun;

-- Databases let everyone in unless told otherwise.
revoke connect, temporary on database postgres from public;
revoke connect, temporary on database template1 from public;
revoke connect, temporary on database project_default from public;
revoke connect, temporary on database bunbun from public;
grant connect on database project_default to authenticator;

\connect project_default
alter schema public owner to project_default;
grant usage on schema public to anon, authenticated, service_role;
alter default privileges for role project_default in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges for role project_default in schema public
  grant all on sequences to anon, authenticated, service_role;
alter default privileges for role project_default in schema public
  grant all on functions to anon, authenticated, service_role;
SQL
