// Every method of `supabase.auth` that the embedded service has.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import {
  address, anonKey, claims, client, fragment, here, mail, ok, owner, password, redirect, refused,
  serviceKey, sessionMissing, signedIn, sql, url,
} from '../support/target.mjs'
import { code } from '../support/totp.mjs'

const provider = process.env.COMPAT_PROVIDER
const site = 'http://localhost:3000'

test('signUp makes a user that has to confirm its address, and verifyOtp confirms it', async () => {
  const supabase = client()
  const email = address('new')
  const data = ok(await supabase.auth.signUp({ email, password, options: { data: { name: 'Ada' } } }))
  assert.equal(data.session, null)
  assert.equal(data.user.email, email)
  assert.equal(data.user.role, 'authenticated')
  assert.equal(data.user.aud, 'authenticated')
  assert.equal(data.user.email_confirmed_at, undefined)
  assert.ok(data.user.confirmation_sent_at)
  assert.equal(data.user.user_metadata.name, 'Ada')
  assert.deepEqual(data.user.app_metadata, { provider: 'email', providers: ['email'] })
  assert.equal(data.user.identities.length, 1)
  assert.equal(data.user.identities[0].provider, 'email')
  refused(await supabase.auth.signInWithPassword({ email, password }), 400, 'email_not_confirmed')

  const { token } = await mail(email, 'signup')
  assert.match(token, /^\d{6}$/)
  const wrong = token === '000000' ? '000001' : '000000'
  refused(await supabase.auth.verifyOtp({ email, token: wrong, type: 'signup' }), 403, 'otp_expired')
  const { session, user } = ok(await supabase.auth.verifyOtp({ email, token, type: 'signup' }))
  assert.ok(user.email_confirmed_at)
  assert.equal(session.token_type, 'bearer')
  assert.equal(session.expires_in, 3600)
  const said = claims(session.access_token)
  assert.equal(said.sub, user.id)
  assert.equal(said.role, 'authenticated')
  assert.equal(said.aud, 'authenticated')
  assert.equal(said.email, email)
  assert.equal(said.aal, 'aal1')
  assert.equal(said.amr[0].method, 'otp')
  assert.equal(said.is_anonymous, false)
  assert.ok(said.session_id)
  refused(await supabase.auth.verifyOtp({ email, token, type: 'signup' }), 403, 'otp_expired')
})

test('signUp with an address that is taken looks like any other', async () => {
  const { email } = await signedIn()
  const data = ok(await client().auth.signUp({ email, password }))
  assert.equal(data.session, null)
  assert.equal(data.user.email, email)
  assert.deepEqual(data.user.identities, [])
})

test('signUp refuses weak passwords and what is no address', async () => {
  const error = refused(await client().auth.signUp({ email: address(), password: '12345' }), 422, 'weak_password')
  assert.deepEqual(error.reasons, ['length'])
  refused(await client().auth.signUp({ email: 'not an address', password }), 400, 'validation_failed')
})

test('signInWithPassword gives a session, and never says what was wrong', async () => {
  const { email, session, user } = await signedIn({ user_metadata: { name: 'Ada' } })
  assert.equal(user.user_metadata.name, 'Ada')
  assert.ok(session.refresh_token.length >= 12)
  assert.ok(session.expires_at > Date.now() / 1000)
  assert.equal(claims(session.access_token).amr[0].method, 'password')
  const wrong = refused(await client().auth.signInWithPassword({ email, password: 'wrong' }), 400, 'invalid_credentials')
  const unknown = refused(await client().auth.signInWithPassword({ email: address(), password }), 400, 'invalid_credentials')
  assert.equal(wrong.message, 'Invalid login credentials')
  assert.equal(unknown.message, wrong.message)
})

test('addresses are the same in any case', async () => {
  const { email, user } = await signedIn()
  const again = ok(await client().auth.signInWithPassword({ email: email.toUpperCase(), password }))
  assert.equal(again.user.id, user.id)
})

test('signInAnonymously, and a later address makes a lasting user', async () => {
  const supabase = client()
  const { user, session } = ok(await supabase.auth.signInAnonymously({ options: { data: { theme: 'dark' } } }))
  assert.equal(user.is_anonymous, true)
  assert.equal(user.user_metadata.theme, 'dark')
  assert.equal(claims(session.access_token).is_anonymous, true)
  assert.equal(claims(session.access_token).role, 'authenticated')
  const email = address('lasting')
  ok(await supabase.auth.updateUser({ email }))
  const { token } = await mail(email, 'email_change')
  const lasting = ok(await supabase.auth.verifyOtp({ email, token, type: 'email_change' }))
  assert.equal(lasting.user.id, user.id)
  assert.equal(lasting.user.is_anonymous, false)
})

test('getUser and getSession', async () => {
  const { client: supabase, user, session } = await signedIn()
  assert.equal(ok(await supabase.auth.getUser()).user.id, user.id)
  assert.equal(ok(await client().auth.getUser(session.access_token)).user.id, user.id)
  assert.equal(ok(await supabase.auth.getSession()).session.access_token, session.access_token)
  refused(await client().auth.getUser('not.a.token'), 403, 'bad_jwt')
  refused(await client().auth.getUser(anonKey), 403, 'bad_jwt')
})

test('getClaims verifies a token', async () => {
  const { client: supabase, user } = await signedIn()
  const data = ok(await supabase.auth.getClaims())
  assert.equal(data.claims.sub, user.id)
})

test('refreshSession rotates the refresh token', async () => {
  const { client: supabase, session } = await signedIn()
  const next = ok(await supabase.auth.refreshSession()).session
  assert.notEqual(next.refresh_token, session.refresh_token)
  assert.equal(claims(next.access_token).session_id, claims(session.access_token).session_id)
  // The parent of the active token gets the active one.
  const again = ok(await client().auth.refreshSession({ refresh_token: session.refresh_token })).session
  assert.equal(again.refresh_token, next.refresh_token)
  refused(await client().auth.refreshSession({ refresh_token: 'unknown12345' }), 400, 'refresh_token_not_found')
})

test('a stolen refresh token ends its family', async () => {
  const { session } = await signedIn()
  const tokens = [session.refresh_token]
  for (let i = 0; i < 3; i += 1) {
    const next = ok(await client().auth.refreshSession({ refresh_token: tokens.at(-1) }))
    tokens.push(next.session.refresh_token)
  }
  // Past the interval in which a used one may come again.
  await sql(`update auth.refresh_tokens set updated_at = updated_at - interval '1 hour'
    where session_id = $1`, [claims(session.access_token).session_id])
  refused(await client().auth.refreshSession({ refresh_token: tokens[0] }), 400, 'refresh_token_already_used')
  const last = await client().auth.refreshSession({ refresh_token: tokens.at(-1) })
  assert.ok(last.error, 'the active token is revoked, too')
})

test('setSession takes over a session', async () => {
  const { session, user } = await signedIn()
  const supabase = client()
  const { access_token, refresh_token } = session
  assert.equal(ok(await supabase.auth.setSession({ access_token, refresh_token })).user.id, user.id)
  assert.equal(ok(await supabase.auth.getUser()).user.id, user.id)
})

test('updateUser changes metadata and password', async () => {
  const { client: supabase, email } = await signedIn({ user_metadata: { a: 1, b: 2 } })
  const { user } = ok(await supabase.auth.updateUser({ data: { b: null, c: 3 } }))
  assert.deepEqual([user.user_metadata.a, 'b' in user.user_metadata, user.user_metadata.c], [1, false, 3])
  refused(await supabase.auth.updateUser({ password }), 422, 'same_password')
  refused(await supabase.auth.updateUser({ password: '123' }), 422, 'weak_password')
  ok(await supabase.auth.updateUser({ password: 'another good one 7' }))
  refused(await client().auth.signInWithPassword({ email, password }), 400, 'invalid_credentials')
  ok(await client().auth.signInWithPassword({ email, password: 'another good one 7' }))
})

test('updateUser changes the address after both addresses have agreed', async () => {
  const { client: supabase, email: old, user } = await signedIn()
  const email = address('moved')
  const changed = ok(await supabase.auth.updateUser({ email }))
  assert.equal(changed.user.new_email, email)
  assert.equal(changed.user.email, old)
  const first = await mail(old, 'email_change')
  const second = await mail(email, 'email_change')
  await client().auth.verifyOtp({ email: old, token: first.token, type: 'email_change' })
  const done = ok(await client().auth.verifyOtp({ email, token: second.token, type: 'email_change' }))
  assert.equal(done.user.id, user.id)
  assert.equal(done.user.email, email)
  const { email: taken } = await signedIn()
  refused(await supabase.auth.updateUser({ email: taken }), 422, 'email_exists')
})

test('signOut ends the sessions of its scope', async () => {
  const { client: first, email, session } = await signedIn()
  const second = client()
  const third = client()
  for (const other of [second, third]) ok(await other.auth.signInWithPassword({ email, password }))
  const held = (await third.auth.getSession()).data.session

  assert.equal((await second.auth.signOut({ scope: 'local' })).error, null)
  assert.equal((await second.auth.getSession()).data.session, null)
  ok(await first.auth.getUser())

  assert.equal((await first.auth.signOut({ scope: 'others' })).error, null)
  ok(await first.auth.getUser())
  refused(await client().auth.refreshSession({ refresh_token: held.refresh_token }), 400, 'refresh_token_not_found')

  assert.equal((await first.auth.signOut()).error, null)
  sessionMissing(await client().auth.getUser(session.access_token))
})

test('resetPasswordForEmail and verifyOtp lead to a new password', async () => {
  const { email } = await signedIn()
  ok(await client().auth.resetPasswordForEmail(email))
  ok(await client().auth.resetPasswordForEmail(address('nobody')))
  const { token } = await mail(email, 'recovery')
  const supabase = client()
  const { session } = ok(await supabase.auth.verifyOtp({ email, token, type: 'recovery' }))
  assert.ok(session.access_token)
  ok(await supabase.auth.updateUser({ password: 'a new password 1' }))
  ok(await client().auth.signInWithPassword({ email, password: 'a new password 1' }))
})

test('signInWithOtp sends a code to users, old and new', async () => {
  const { email, user } = await signedIn()
  ok(await client().auth.signInWithOtp({ email }))
  const { token, token_hash } = await mail(email, 'magiclink')
  const supabase = client()
  assert.equal(ok(await supabase.auth.verifyOtp({ email, token, type: 'email' })).user.id, user.id)
  refused(await client().auth.verifyOtp({ token_hash, type: 'email' }), 403, 'otp_expired')

  const fresh = address('fresh')
  ok(await client().auth.signInWithOtp({ email: fresh }))
  const confirmation = await mail(fresh, 'signup')
  const made = ok(await client().auth.verifyOtp({ token_hash: confirmation.token_hash, type: 'email' }))
  assert.equal(made.user.email, fresh)
  refused(await client().auth.signInWithOtp({ email: address(), options: { shouldCreateUser: false } }), 422, 'otp_disabled')
})

test('resend sends the confirmation again', async () => {
  const email = address('resend')
  ok(await client().auth.signUp({ email, password }))
  const first = await mail(email, 'signup')
  ok(await client().auth.resend({ type: 'signup', email }))
  const second = await mail(email, 'signup')
  assert.notEqual(second.id, first.id)
  ok(await client().auth.verifyOtp({ email, token: second.token, type: 'signup' }))
})

test('reauthenticate sends a code', async () => {
  const { client: supabase, email } = await signedIn()
  ok(await supabase.auth.reauthenticate())
  const { token } = await mail(email, 'reauthentication')
  ok(await supabase.auth.updateUser({ password: 'after a code 55', nonce: token }))
})

test('the link of a mail leads back to the application with a session', async () => {
  const email = address('link')
  ok(await client().auth.signUp({ email, password, options: { emailRedirectTo: `${site}/welcome` } }))
  const { link } = await mail(email, 'signup')
  const { status, location } = await redirect(here(link))
  assert.equal(status, 303)
  assert.equal(location.origin + location.pathname, `${site}/welcome`)
  const said = fragment(location)
  assert.equal(said.get('type'), 'signup')
  assert.equal(said.get('token_type'), 'bearer')
  const access_token = said.get('access_token')
  ok(await client().auth.setSession({ access_token, refresh_token: said.get('refresh_token') }))
  const used = await redirect(here(link))
  assert.equal(fragment(used.location).get('error_code'), 'otp_expired')
})

test('links lead to no site that is not allowed', async () => {
  const email = address('open')
  ok(await client().auth.signUp({ email, password, options: { emailRedirectTo: 'https://evil.example/' } }))
  const { link } = await mail(email, 'signup')
  const { location } = await redirect(here(link))
  assert.equal(location.origin, site)
})

test('with PKCE the link leads back with a code', async () => {
  const supabase = client(anonKey, { flowType: 'pkce' })
  const email = address('pkce')
  ok(await supabase.auth.signUp({ email, password, options: { emailRedirectTo: `${site}/welcome` } }))
  const { link } = await mail(email, 'signup')
  const { location } = await redirect(here(link))
  const authCode = location.searchParams.get('code')
  assert.ok(authCode, location.href)
  const other = client(anonKey, { flowType: 'pkce' })
  assert.ok((await other.auth.exchangeCodeForSession(authCode)).error, 'another verifier')
  const { session } = ok(await supabase.auth.exchangeCodeForSession(authCode))
  assert.equal(session.user.email, email)
  const response = await fetch(`${url}/auth/v1/token?grant_type=pkce`, {
    method: 'POST',
    headers: { apikey: anonKey, 'content-type': 'application/json', 'x-supabase-api-version': '2024-01-01' },
    body: JSON.stringify({ auth_code: authCode, code_verifier: 'x'.repeat(43) }),
  })
  assert.equal((await response.json()).code, 'flow_state_not_found')
})

async function visit(supabase, hint, options = {}) {
  const { url: start } = ok(
    await supabase.auth.signInWithOAuth({
      provider: 'compat',
      options: { redirectTo: `${site}/done`, queryParams: { login_hint: hint }, skipBrowserRedirect: true, ...options },
    }),
  )
  return followProvider(start, hint)
}

async function followProvider(start, hint) {
  const toProvider = await redirect(start)
  return atProvider(toProvider.location, hint)
}

async function atProvider(location, hint) {
  assert.equal(location.origin, provider)
  location.searchParams.set('login_hint', hint)
  const toCallback = await redirect(location.href)
  assert.equal(toCallback.location.pathname, '/auth/v1/callback')
  return redirect(here(toCallback.location.href))
}

test('signInWithOAuth signs in at another provider', async () => {
  const email = address('oauth')
  const { location } = await visit(client(), email)
  assert.equal(location.origin + location.pathname, `${site}/done`)
  const said = fragment(location)
  assert.equal(said.get('provider_token'), `access:${email}`)
  const supabase = client()
  const access_token = said.get('access_token')
  const { user } = ok(await supabase.auth.setSession({ access_token, refresh_token: said.get('refresh_token') }))
  assert.equal(user.email, email)
  assert.equal(user.app_metadata.provider, 'compat')
  assert.equal(user.user_metadata.name, 'Ada Compat')
  const { identities } = ok(await supabase.auth.getUserIdentities())
  assert.equal(identities[0].provider, 'compat')
  assert.equal(claims(access_token).amr[0].method, 'oauth')

  const refusal = await visit(client(), 'refuse')
  assert.equal(new URLSearchParams(refusal.location.search).get('error'), 'access_denied')
})

test('signInWithOAuth with PKCE, and exchangeCodeForSession', async () => {
  const supabase = client(anonKey, { flowType: 'pkce' })
  const email = address('oauth')
  const { location } = await visit(supabase, email)
  const { session } = ok(await supabase.auth.exchangeCodeForSession(location.searchParams.get('code')))
  assert.equal(session.user.email, email)
  assert.equal(session.provider_token, `access:${email}`)
})

test('signInWithOAuth knows only what is configured', async () => {
  const { url: start } = ok(await client().auth.signInWithOAuth({ provider: 'gitlab', options: { skipBrowserRedirect: true } }))
  const response = await fetch(start, { redirect: 'manual' })
  assert.equal(response.status, 400)
  assert.equal((await response.json()).error_code, 'validation_failed')
})

test('signInWithIdToken takes tokens of configured issuers', async () => {
  const email = address('idtoken')
  const nonce = 'a-nonce'
  const hashed = createHash('sha256').update(nonce).digest('hex')
  const { id_token: token } = await (await fetch(`${provider}/id_token?email=${email}&nonce=${hashed}`)).json()
  const { user } = ok(await client().auth.signInWithIdToken({ provider: 'compat', token, nonce }))
  assert.equal(user.email, email)
  const wrong = await client().auth.signInWithIdToken({ provider: 'compat', token, nonce: 'another' })
  assert.equal(wrong.error.status, 400)
  const forged = `${token.slice(0, -8)}AAAAAAAA`
  assert.equal((await client().auth.signInWithIdToken({ provider: 'compat', token: forged, nonce })).error.status, 400)
})

test('linkIdentity and unlinkIdentity', async () => {
  const { client: supabase } = await signedIn()
  const [first] = ok(await supabase.auth.getUserIdentities()).identities
  refused(await supabase.auth.unlinkIdentity(first), 422, 'single_identity_not_deletable')
  const hint = address('linked')
  const { url: start } = ok(await supabase.auth.linkIdentity({ provider: 'compat', options: { redirectTo: `${site}/done`, skipBrowserRedirect: true } }))
  await atProvider(new URL(start), hint)
  const { identities } = ok(await supabase.auth.getUserIdentities())
  const linked = identities.find((identity) => identity.provider === 'compat')
  assert.equal(linked.identity_data.email, hint)
  ok(await supabase.auth.unlinkIdentity(linked))
  assert.equal(ok(await supabase.auth.getUserIdentities()).identities.length, 1)
})

test('mfa: enroll, challenge, verify, list and unenroll', async () => {
  const { client: supabase } = await signedIn()
  const before = ok(await supabase.auth.mfa.getAuthenticatorAssuranceLevel())
  assert.deepEqual([before.currentLevel, before.nextLevel], ['aal1', 'aal1'])
  const factor = ok(await supabase.auth.mfa.enroll({ factorType: 'totp', friendlyName: 'phone', issuer: 'Compat' }))
  assert.equal(factor.type, 'totp')
  assert.equal(factor.friendly_name, 'phone')
  assert.match(factor.totp.uri, /^otpauth:\/\/totp\/Compat:/)
  assert.match(factor.totp.qr_code, /^data:image\/svg\+xml/)
  refused(await supabase.auth.mfa.enroll({ factorType: 'totp', friendlyName: 'phone' }), 422, 'mfa_factor_name_conflict')

  const challenge = ok(await supabase.auth.mfa.challenge({ factorId: factor.id }))
  assert.ok(challenge.expires_at > Date.now() / 1000)
  const wrong = { factorId: factor.id, challengeId: challenge.id, code: '000000' }
  refused(await supabase.auth.mfa.verify(wrong), 422, 'mfa_verification_failed')
  const verified = ok(await supabase.auth.mfa.verify({ ...wrong, code: code(factor.totp.secret) }))
  assert.equal(claims(verified.access_token).aal, 'aal2')
  assert.deepEqual(claims(verified.access_token).amr.map((entry) => entry.method).sort(), ['password', 'totp'])

  const after = ok(await supabase.auth.mfa.getAuthenticatorAssuranceLevel())
  assert.deepEqual([after.currentLevel, after.nextLevel], ['aal2', 'aal2'])
  const { totp, all } = ok(await supabase.auth.mfa.listFactors())
  assert.deepEqual([totp.length, all.length, totp[0].status], [1, 1, 'verified'])
  assert.equal(ok(await supabase.auth.mfa.unenroll({ factorId: factor.id })).id, factor.id)
  assert.equal(ok(await supabase.auth.mfa.listFactors()).all.length, 0)
})

test('mfa: challengeAndVerify at the next sign-in; aal1 may not unenroll', async () => {
  const { client: supabase, email } = await signedIn()
  const factor = ok(await supabase.auth.mfa.enroll({ factorType: 'totp' }))
  ok(await supabase.auth.mfa.challengeAndVerify({ factorId: factor.id, code: code(factor.totp.secret) }))
  const later = client()
  ok(await later.auth.signInWithPassword({ email, password }))
  const level = ok(await later.auth.mfa.getAuthenticatorAssuranceLevel())
  assert.deepEqual([level.currentLevel, level.nextLevel], ['aal1', 'aal2'])
  refused(await later.auth.mfa.unenroll({ factorId: factor.id }), 422, 'insufficient_aal')
  // The next step's code: a code is good once.
  const data = ok(await later.auth.mfa.challengeAndVerify({ factorId: factor.id, code: code(factor.totp.secret, 1) }))
  assert.equal(claims(data.access_token).aal, 'aal2')
})

test('onAuthStateChange tells what happens', async () => {
  const { email } = await signedIn()
  const supabase = client()
  const events = []
  const { data } = supabase.auth.onAuthStateChange((event) => events.push(event))
  ok(await supabase.auth.signInWithPassword({ email, password }))
  ok(await supabase.auth.refreshSession())
  ok(await supabase.auth.updateUser({ data: { seen: true } }))
  await supabase.auth.signOut()
  data.subscription.unsubscribe()
  assert.deepEqual(events.filter((event) => event !== 'INITIAL_SESSION'), ['SIGNED_IN', 'TOKEN_REFRESHED', 'USER_UPDATED', 'SIGNED_OUT'])
})

test('what comes later says so', async () => {
  refused(await client().auth.signInWithSSO({ domain: 'example.com' }), 404, 'saml_provider_disabled')
  const chain = { chain: 'solana', message: 'x', signature: new Uint8Array(64) }
  refused(await client().auth.signInWithWeb3(chain), 422, 'web3_provider_disabled')
  refused(await owner.auth.admin.oauth.listClients(), 404, 'feature_disabled')
})

test('settings, health and JWKS', async () => {
  const get = async (path, headers = { apikey: anonKey }) => {
    const response = await fetch(`${url}/auth/v1${path}`, { headers })
    return [response.status, await response.json()]
  }
  const [status, settings] = await get('/settings')
  assert.equal(status, 200)
  assert.equal(settings.external.email, true)
  assert.equal(settings.external.anonymous_users, true)
  assert.equal(settings.mailer_autoconfirm, false)
  assert.equal(settings.disable_signup, false)
  const [healthy, health] = await get('/health')
  assert.deepEqual([healthy, health.name], [200, 'GoTrue'])
  const [open, jwks] = await get('/.well-known/jwks.json', {})
  assert.equal(open, 200)
  assert.ok(Array.isArray(jwks.keys))
  assert.ok(!JSON.stringify(jwks).includes('"oct"'))
})

test('both shapes of errors', async () => {
  const call = async (headers) => {
    const response = await fetch(`${url}/auth/v1/token?grant_type=password`, {
      method: 'POST',
      headers: { apikey: anonKey, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ email: address(), password }),
    })
    return [response, await response.json()]
  }
  const [old, oldBody] = await call({})
  assert.equal(old.status, 400)
  assert.equal(old.headers.get('x-sb-error-code'), 'invalid_credentials')
  assert.deepEqual([oldBody.code, oldBody.error_code, oldBody.msg], [400, 'invalid_credentials', 'Invalid login credentials'])
  const [recent, recentBody] = await call({ 'x-supabase-api-version': '2024-01-01' })
  assert.equal(recent.headers.get('x-supabase-api-version'), '2024-01-01')
  assert.deepEqual([recentBody.code, recentBody.message], ['invalid_credentials', 'Invalid login credentials'])
})

test('a key is needed, and the service key is no user', async () => {
  const response = await fetch(`${url}/auth/v1/settings`)
  assert.equal(response.status, 401)
  refused(await client().auth.getUser(serviceKey), 403, 'bad_jwt')
  assert.ok(owner)
})
