-- The refresh grant in one round trip: finds the token, lets the session's callers take turns,
-- decides, and replaces the token.
--
-- Outcomes: rotated (`stored` is the new token), active (`stored` is the session's current token,
-- which the shown one led to), reused, not_found, no_session, banned, expired, inactive.
create or replace function auth.bunbun_refresh_token(
  shown text,
  shown_digest text,
  child text,
  at timestamptz,
  reuse_s double precision,
  may_revoke boolean,
  timebox_s double precision,
  inactivity_s double precision,
  agent text,
  client inet,
  audit_id uuid
) returns table (outcome text, stored text, user_id uuid, session_id uuid)
language plpgsql volatile rows 1
as $bunbun$
#variable_conflict use_column
declare
  token auth.refresh_tokens;
  session auth.sessions;
  active auth.refresh_tokens;
  owner record;
begin
  select t.* into token from auth.refresh_tokens t where t.token = shown_digest;
  if not found then
    select t.* into token from auth.refresh_tokens t where t.token = shown;
    if not found then
      outcome := 'not_found';
      return next;
      return;
    end if;
  end if;
  user_id := token.user_id::uuid;
  session_id := token.session_id;

  select u.email, u.phone, u.is_sso_user, u.banned_until into owner
    from auth.users u where u.id = token.user_id::uuid;
  if not found then
    outcome := 'not_found';
    return next;
    return;
  end if;
  if owner.banned_until > at then
    outcome := 'banned';
    return next;
    return;
  end if;

  -- Whoever comes second waits here, and sees what the first one did in the next statement.
  select s.* into session from auth.sessions s where s.id = token.session_id for no key update;
  if not found then
    delete from auth.refresh_tokens t where t.id = token.id;
    outcome := 'no_session';
    return next;
    return;
  end if;
  if session.not_after < at or session.created_at + timebox_s * interval '1 second' < at then
    outcome := 'expired';
    return next;
    return;
  end if;
  select t.* into token from auth.refresh_tokens t where t.id = token.id;
  if coalesce(session.refreshed_at at time zone 'utc', greatest(token.updated_at, session.created_at))
      + inactivity_s * interval '1 second' < at then
    outcome := 'inactive';
    return next;
    return;
  end if;

  if token.revoked then
    select t.* into active from auth.refresh_tokens t
      where t.session_id = session.id and t.revoked is false
      order by t.id desc limit 1;
    if found and (active.parent = token.token or token.updated_at + reuse_s * interval '1 second' >= at) then
      outcome := 'active';
      stored := active.token;
    else
      if may_revoke then
        update auth.refresh_tokens t set revoked = true, updated_at = at
          where t.session_id = session.id and t.revoked is false;
      end if;
      outcome := 'reused';
      return next;
      return;
    end if;
  else
    update auth.refresh_tokens t set revoked = true, updated_at = at where t.id = token.id;
    insert into auth.refresh_tokens
      (instance_id, token, user_id, revoked, created_at, updated_at, parent, session_id)
    values
      (token.instance_id, child, token.user_id, false, at, at, token.token, session.id);
    outcome := 'rotated';
    stored := child;
  end if;

  update auth.sessions s
    set refreshed_at = at at time zone 'utc', updated_at = at, user_agent = agent, ip = client
    where s.id = session.id;
  if audit_id is not null then
    insert into auth.audit_log_entries (instance_id, id, payload, created_at, ip_address)
    values (
      '00000000-0000-0000-0000-000000000000', audit_id,
      json_build_object(
        'action', 'token_refreshed', 'actor_id', token.user_id,
        'actor_username', coalesce(nullif(owner.phone, ''), owner.email, ''),
        'actor_via_sso', owner.is_sso_user, 'log_type', 'token'
      ),
      at, coalesce(host(client), '')
    );
  end if;
  return next;
end $bunbun$;

revoke all on function auth.bunbun_refresh_token(
  text, text, text, timestamptz, double precision, boolean, double precision, double precision,
  text, inet, uuid
) from public;
