// Every method of `supabase.auth.admin` that the embedded service has.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import {
  address, client, fragment, here, mail, ok, owner, password, redirect, refused, sessionMissing, signedIn,
} from '../support/target.mjs'
import { code } from '../support/totp.mjs'

const { admin } = owner.auth

test('createUser makes a user with everything the owner may set', async () => {
  const email = address('made')
  const id = randomUUID()
  const { user } = ok(await admin.createUser({
    id, email, password, email_confirm: true, role: 'authenticated',
    user_metadata: { name: 'Ada' }, app_metadata: { plan: 'pro' },
  }))
  assert.equal(user.id, id)
  assert.ok(user.email_confirmed_at)
  assert.equal(user.user_metadata.name, 'Ada')
  assert.equal(user.app_metadata.plan, 'pro')
  assert.equal(user.app_metadata.provider, 'email')
  ok(await client().auth.signInWithPassword({ email, password }))
  refused(await admin.createUser({ email, password }), 422, 'email_exists')
  const unconfirmed = address('unconfirmed')
  ok(await admin.createUser({ email: unconfirmed, password }))
  refused(await client().auth.signInWithPassword({ email: unconfirmed, password }), 400, 'email_not_confirmed')
})

test('createUser takes imported password hashes', async () => {
  const email = address('imported')
  // bcrypt of "password"
  const password_hash = '$2b$10$bvN/2LaKVzI5dtGGNEB2tOdkGdyrbjuDbsf/JmVYn82VG6O9Fgdcm'
  ok(await admin.createUser({ email, password_hash, email_confirm: true }))
  ok(await client().auth.signInWithPassword({ email, password: 'password' }))
  const broken = await admin.createUser({ email: address(), password_hash: 'md5:1234', email_confirm: true })
  assert.equal(broken.error.status, 400)
})

test('listUsers pages through all users', async () => {
  for (let i = 0; i < 3; i += 1) ok(await admin.createUser({ email: address('listed'), password }))
  const first = ok(await admin.listUsers({ page: 1, perPage: 2 }))
  assert.equal(first.users.length, 2)
  assert.ok(first.total >= 3)
  assert.equal(first.nextPage, 2)
  // The client reads one digit of the number in the Link header.
  assert.equal(String(first.lastPage), String(Math.ceil(first.total / 2))[0])
  assert.equal(first.aud, 'authenticated')
  const second = ok(await admin.listUsers({ page: 2, perPage: 2 }))
  const ids = new Set([...first.users, ...second.users].map((user) => user.id))
  assert.equal(ids.size, first.users.length + second.users.length)
  assert.ok(!JSON.stringify(first.users).includes('encrypted_password'))
})

test('getUserById', async () => {
  const { user } = await signedIn()
  assert.equal(ok(await admin.getUserById(user.id)).user.email, user.email)
  refused(await admin.getUserById(randomUUID()), 404, 'user_not_found')
})

test('updateUserById changes everything', async () => {
  const { user, email } = await signedIn({ user_metadata: { a: 1 }, app_metadata: { x: 1 } })
  const moved = address('moved')
  const { user: changed } = ok(await admin.updateUserById(user.id, {
    email: moved, email_confirm: true, password: 'changed by the owner 3',
    user_metadata: { a: 2, b: 3 }, app_metadata: { y: 2 },
  }))
  assert.equal(changed.email, moved)
  assert.deepEqual([changed.user_metadata.a, changed.user_metadata.b], [2, 3])
  assert.deepEqual([changed.app_metadata.x, changed.app_metadata.y], [1, 2])
  refused(await client().auth.signInWithPassword({ email, password }), 400, 'invalid_credentials')
  ok(await client().auth.signInWithPassword({ email: moved, password: 'changed by the owner 3' }))
  refused(await admin.updateUserById(randomUUID(), { user_metadata: {} }), 404, 'user_not_found')
  const { email: taken } = await signedIn()
  refused(await admin.updateUserById(user.id, { email: taken }), 422, 'email_exists')
})

test('a ban keeps a user out until it ends', async () => {
  const { user, email, session } = await signedIn()
  const { user: banned } = ok(await admin.updateUserById(user.id, { ban_duration: '24h' }))
  assert.ok(new Date(banned.banned_until) > new Date())
  refused(await client().auth.signInWithPassword({ email, password }), 400, 'user_banned')
  refused(await client().auth.refreshSession({ refresh_token: session.refresh_token }), 400, 'user_banned')
  ok(await admin.updateUserById(user.id, { ban_duration: 'none' }))
  ok(await client().auth.signInWithPassword({ email, password }))
})

test('deleteUser, for good or softly', async () => {
  const { user, email, session } = await signedIn()
  ok(await admin.deleteUser(user.id))
  refused(await admin.getUserById(user.id), 404, 'user_not_found')
  refused(await client().auth.signInWithPassword({ email, password }), 400, 'invalid_credentials')
  assert.ok((await client().auth.getUser(session.access_token)).error)
  refused(await admin.deleteUser(user.id), 404, 'user_not_found')

  const soft = await signedIn()
  ok(await admin.deleteUser(soft.user.id, true))
  const left = ok(await admin.getUserById(soft.user.id)).user
  assert.ok(left.deleted_at)
  assert.notEqual(left.email, soft.email)
  refused(await client().auth.signInWithPassword({ email: soft.email, password }), 400, 'invalid_credentials')
})

test('inviteUserByEmail sends a mail that makes a user', async () => {
  const email = address('invited')
  const { user } = ok(await admin.inviteUserByEmail(email, { data: { team: 'a' }, redirectTo: 'http://localhost:3000/join' }))
  assert.ok(user.invited_at)
  assert.equal(user.user_metadata.team, 'a')
  const { link } = await mail(email, 'invite')
  const { location } = await redirect(here(link))
  assert.equal(location.pathname, '/join')
  assert.equal(fragment(location).get('type'), 'invite')
  const { email: taken } = await signedIn()
  refused(await admin.inviteUserByEmail(taken), 422, 'email_exists')
})

for (const [type, needs] of [['signup', { password }], ['invite', {}]]) {
  test(`generateLink makes a new user: ${type}`, async () => {
    const email = address(type)
    const { properties, user } = ok(await admin.generateLink({ type, email, ...needs, options: { data: { from: type } } }))
    assert.equal(user.email, email)
    assert.equal(user.user_metadata.from, type)
    assert.equal(properties.verification_type, type)
    assert.match(properties.email_otp, /^\d{6}$/)
    assert.ok(properties.action_link.includes(properties.hashed_token))
    const data = ok(await client().auth.verifyOtp({ token_hash: properties.hashed_token, type }))
    assert.equal(data.user.id, user.id)
  })
}

for (const type of ['magiclink', 'recovery']) {
  test(`generateLink for a user: ${type}`, async () => {
    const { email, user } = await signedIn()
    const { properties } = ok(await admin.generateLink({ type, email, options: { redirectTo: 'http://localhost:3000/in' } }))
    assert.equal(properties.redirect_to, 'http://localhost:3000/in')
    const { location } = await redirect(here(properties.action_link))
    assert.equal(location.pathname, '/in')
    assert.equal(fragment(location).get('type'), type)
    const access_token = fragment(location).get('access_token')
    assert.equal(ok(await client().auth.getUser(access_token)).user.id, user.id)
  })
}

test('generateLink for a change of address', async () => {
  const { email, user } = await signedIn()
  const newEmail = address('next')
  const one = ok(await admin.generateLink({ type: 'email_change_current', email, newEmail }))
  const two = ok(await admin.generateLink({ type: 'email_change_new', email, newEmail }))
  for (const { properties } of [one, two]) await redirect(here(properties.action_link))
  assert.equal(ok(await admin.getUserById(user.id)).user.email, newEmail)
})

test('generateLink of recovery needs a user', async () => {
  refused(await admin.generateLink({ type: 'recovery', email: address() }), 404, 'user_not_found')
})

test('admin.signOut ends the sessions of a token', async () => {
  const { session, email } = await signedIn()
  const other = client()
  ok(await other.auth.signInWithPassword({ email, password }))
  assert.equal((await admin.signOut(session.access_token, 'local')).error, null)
  sessionMissing(await client().auth.getUser(session.access_token))
  ok(await other.auth.getUser())
})

test('admin.mfa lists and deletes factors', async () => {
  const { client: supabase, user } = await signedIn()
  const factor = ok(await supabase.auth.mfa.enroll({ factorType: 'totp' }))
  ok(await supabase.auth.mfa.challengeAndVerify({ factorId: factor.id, code: code(factor.totp.secret) }))
  const { factors } = ok(await admin.mfa.listFactors({ userId: user.id }))
  assert.deepEqual(factors.map(({ id, status }) => [id, status]), [[factor.id, 'verified']])
  const deleted = ok(await admin.mfa.deleteFactor({ userId: user.id, id: factor.id }))
  // The client wraps the answer twice.
  assert.equal((deleted.data ?? deleted).id, factor.id)
  assert.equal(ok(await admin.mfa.listFactors({ userId: user.id })).factors.length, 0)
})

test('nobody but the owner administers', async () => {
  const { session } = await signedIn()
  const anonymous = await client().auth.admin.listUsers()
  assert.ok([401, 403].includes(anonymous.error.status), `${anonymous.error.status}`)
  const asUser = client(undefined, { headers: { Authorization: `Bearer ${session.access_token}` } })
  refused(await asUser.auth.admin.listUsers(), 403, 'not_admin')
  refused(await asUser.auth.admin.deleteUser(session.user.id), 403, 'not_admin')
})
