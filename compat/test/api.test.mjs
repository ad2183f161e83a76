// BunBun's own `/api/auth` and `/api/storage`, which work alike whatever fills the slots. The
// limits of `/api/auth/sign*` are raised by the runner.

import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { address, anonKey, mail, client, ok, owner, password, serviceKey, signedIn, sql, url } from '../support/target.mjs'

async function call(method, path, { token, json, form, headers = {} } = {}) {
  const response = await fetch(`${url}/api/${path}`, {
    method,
    headers: {
      ...(token && { authorization: `Bearer ${token}` }),
      ...(json && { 'content-type': 'application/json' }),
      ...headers,
    },
    body: json ? JSON.stringify(json) : form,
  })
  const bytes = Buffer.from(await response.arrayBuffer())
  const isJson = bytes.length > 0 && response.headers.get('content-type')?.startsWith('application/json')
  const body = isJson ? JSON.parse(bytes.toString()) : bytes
  return { status: response.status, body, headers: response.headers }
}

function refused({ status, body }, expected, code) {
  assert.equal(`${status} ${body.error?.code}`, `${expected} ${code}`, JSON.stringify(body))
  assert.ok(body.error.message && body.error.request_id)
  return body.error
}

function upload(fields, token = serviceKey) {
  const form = new FormData()
  for (const [name, value] of fields) form.append(name, value)
  return call('POST', 'storage/upload', { token, form })
}

async function bucket() {
  const name = `a-${randomUUID().slice(0, 12)}`
  ok(await owner.storage.createBucket(name))
  await sql(`create policy "${name}" on storage.objects for all to authenticated
    using (bucket_id = '${name}' and (storage.foldername(name))[1] = auth.uid()::text)
    with check (bucket_id = '${name}' and (storage.foldername(name))[1] = auth.uid()::text)`)
  return name
}

test('signup, confirmation, signin, user, refresh, signout', async () => {
  const email = address('api')
  const signup = await call('POST', 'auth/signup', { json: { email, password, data: { name: 'Ada' } } })
  assert.equal(signup.status, 200, JSON.stringify(signup.body))
  assert.equal(signup.body.session, null)
  assert.deepEqual([signup.body.user.email, signup.body.user.user_metadata.name], [email, 'Ada'])
  refused(await call('POST', 'auth/signin', { json: { email, password } }), 403, 'EMAIL_NOT_CONFIRMED')
  const { token } = await mail(email, 'signup')
  ok(await client().auth.verifyOtp({ email, token, type: 'signup' }))

  const signin = await call('POST', 'auth/signin', { json: { email, password } })
  assert.equal(signin.status, 200)
  const { session, user } = signin.body
  assert.equal(user.email, email)
  assert.deepEqual(Object.keys(session).sort(), ['access_token', 'expires_at', 'expires_in', 'refresh_token', 'token_type'])

  const me = await call('GET', 'auth/user', { token: session.access_token })
  assert.deepEqual([me.status, me.body.user.id], [200, user.id])
  const next = await call('POST', 'auth/refresh', { json: { refresh_token: session.refresh_token } })
  assert.equal(next.status, 200)
  assert.notEqual(next.body.session.refresh_token, session.refresh_token)
  const out = await call('POST', 'auth/signout', { token: next.body.session.access_token })
  assert.deepEqual([out.status, out.body], [200, { success: true }])
  refused(await call('GET', 'auth/user', { token: session.access_token }), 401, 'SESSION_NOT_FOUND')
  refused(await call('POST', 'auth/refresh', { json: { refresh_token: next.body.session.refresh_token } }), 401, 'INVALID_REFRESH_TOKEN')
})

test('what auth refuses comes in our envelope', async () => {
  const { email } = await signedIn()
  const wrong = refused(await call('POST', 'auth/signin', { json: { email, password: 'wrong' } }), 401, 'INVALID_CREDENTIALS')
  const unknown = refused(await call('POST', 'auth/signin', { json: { email: address(), password } }), 401, 'INVALID_CREDENTIALS')
  assert.equal(wrong.message, unknown.message)
  const weak = refused(await call('POST', 'auth/signup', { json: { email: address(), password: '123' } }), 400, 'WEAK_PASSWORD')
  assert.deepEqual(weak.details.reasons, ['length'])
  refused(await call('POST', 'auth/signup', { json: { email: 'nonsense', password } }), 400, 'VALIDATION_FAILED')
  refused(await call('POST', 'auth/refresh', { json: { refresh_token: 'unknown' } }), 401, 'INVALID_REFRESH_TOKEN')
  refused(await call('GET', 'auth/user'), 401, 'UNAUTHORIZED')
  refused(await call('GET', 'auth/user', { token: anonKey }), 403, 'FORBIDDEN')
  refused(await call('GET', 'auth/user', { token: serviceKey }), 403, 'FORBIDDEN')
  refused(await call('POST', 'auth/signout', { token: serviceKey }), 403, 'FORBIDDEN')
})

test('signout ends the sessions of its scope', async () => {
  const { email, session } = await signedIn()
  const other = await call('POST', 'auth/signin', { json: { email, password } })
  const out = await call('POST', 'auth/signout?scope=local', { token: session.access_token })
  assert.equal(out.status, 200)
  refused(await call('GET', 'auth/user', { token: session.access_token }), 401, 'SESSION_NOT_FOUND')
  assert.equal((await call('GET', 'auth/user', { token: other.body.session.access_token })).status, 200)
  assert.equal((await call('POST', 'auth/signout?scope=all', { token: other.body.session.access_token })).status, 400)
})

test('admin/users: create, get, update, list and delete', async () => {
  const admin = (json, token = serviceKey) => call('POST', 'auth/admin/users', { token, json })
  const email = address('managed')
  const made = await admin({ action: 'create', data: { email, password, email_confirm: true, app_metadata: { plan: 'pro' } } })
  assert.equal(made.status, 200, JSON.stringify(made.body))
  const { id } = made.body.user
  refused(await admin({ action: 'create', data: { email, password } }), 409, 'USER_EXISTS')
  assert.equal((await admin({ action: 'get', data: { id } })).body.user.email, email)
  const updated = await admin({ action: 'update', data: { id, user_metadata: { name: 'Ada' } } })
  assert.deepEqual([updated.body.user.user_metadata.name, updated.body.user.app_metadata.plan], ['Ada', 'pro'])
  const page = await admin({ action: 'list', page: 1, per_page: 1 })
  assert.equal(page.body.users.length, 1)
  assert.ok(page.body.total >= 1)
  const banned = await admin({ action: 'update', data: { id, ban_duration: '1h' } })
  assert.ok(banned.body.user.banned_until)
  refused(await call('POST', 'auth/signin', { json: { email, password } }), 403, 'USER_BANNED')
  assert.equal((await admin({ action: 'delete', data: { id } })).body.user.id, id)
  refused(await admin({ action: 'get', data: { id } }), 404, 'USER_NOT_FOUND')
  refused(await admin({ action: 'delete', data: { id } }), 404, 'USER_NOT_FOUND')
  refused(await admin({ action: 'get' }), 400, 'VALIDATION_FAILED')
  refused(await admin({ action: 'get', data: { id: 'x' } }), 400, 'INVALID_REQUEST')
  refused(await admin({ action: 'destroy' }), 400, 'INVALID_REQUEST')
  const { session } = await signedIn()
  refused(await admin({ action: 'list' }, session.access_token), 403, 'FORBIDDEN')
  refused(await admin({ action: 'list' }, anonKey), 403, 'FORBIDDEN')
})

test('upload, download, list, sign and delete', async () => {
  const name = await bucket()
  const bytes = randomBytes(500_000)
  const file = new Blob([bytes], { type: 'image/png' })
  const up = await upload([['bucket', name], ['path', '2026/ä b.png'], ['file', file]])
  assert.equal(up.status, 200, JSON.stringify(up.body))
  assert.deepEqual([up.body.key, up.body.size, up.body.mime_type], [`${name}/2026/ä b.png`, bytes.length, 'image/png'])
  assert.equal(up.body.url, `${url}/api/storage/download/${name}/2026/%C3%A4%20b.png`)

  const token = serviceKey
  const path = `storage/download/${name}/2026/%C3%A4%20b.png`
  const down = await call('GET', path, { token })
  assert.deepEqual(down.body, bytes)
  assert.equal(down.headers.get('etag'), up.body.etag)
  assert.equal(down.headers.get('content-type'), 'image/png')
  const part = await call('GET', path, { token, headers: { range: 'bytes=10-19' } })
  assert.deepEqual([part.status, part.body, part.headers.get('content-range')], [206, bytes.subarray(10, 20), `bytes 10-19/${bytes.length}`])
  const same = await call('GET', path, { token, headers: { 'if-none-match': up.body.etag } })
  assert.deepEqual([same.status, same.body.length], [304, 0])
  refused(await call('GET', path, { token, headers: { range: 'bytes=9999999-' } }), 416, 'RANGE_NOT_SATISFIABLE')
  const head = await call('HEAD', path, { token })
  assert.deepEqual([head.status, head.headers.get('content-length'), head.body.length], [200, String(bytes.length), 0])

  const list = await call('GET', `storage/list/${name}?prefix=2026/`, { token })
  assert.deepEqual(list.body.files.map(({ path, size, mime_type }) => [path, size, mime_type]), [['2026/ä b.png', bytes.length, 'image/png']])
  assert.equal(list.body.next_cursor, null)

  const signed = await call('POST', `storage/sign/${name}/2026/%C3%A4%20b.png`, { token, json: { expires_in: 60 } })
  assert.equal(signed.status, 200, JSON.stringify(signed.body))
  assert.ok(signed.body.url.startsWith(`${url}/storage/v1/object/sign/`), signed.body.url)
  assert.ok(new Date(signed.body.expires_at) > new Date())
  assert.deepEqual(Buffer.from(await (await fetch(signed.body.url)).arrayBuffer()), bytes)

  const gone = await call('DELETE', `storage/delete/${name}/2026/%C3%A4%20b.png`, { token })
  assert.deepEqual([gone.status, gone.body], [200, { success: true }])
  refused(await call('GET', path, { token }), 404, 'OBJECT_NOT_FOUND')
  assert.equal((await call('HEAD', path, { token })).status, 404)
  refused(await call('DELETE', `storage/delete/${name}/2026/%C3%A4%20b.png`, { token }), 404, 'OBJECT_NOT_FOUND')
})

test('a form may have its file first, and is refused where it makes no sense', async () => {
  const name = await bucket()
  const file = new Blob([randomBytes(300_000)])
  const first = await upload([['file', file], ['path', 'first.bin'], ['bucket', name]])
  assert.deepEqual([first.status, first.body.size], [200, 300_000])
  refused(await upload([['bucket', name], ['path', 'first.bin'], ['file', file]]), 409, 'OBJECT_EXISTS')
  assert.equal((await upload([['bucket', name], ['path', 'first.bin'], ['upsert', 'true'], ['file', file]])).status, 200)
  assert.equal((await upload([['file', file], ['bucket', name], ['upsert', 'true'], ['path', 'first.bin']])).status, 200)
  refused(await upload([['bucket', name], ['path', 'late.bin'], ['file', file], ['upsert', 'true']]), 400, 'INVALID_REQUEST')
  refused(await call('GET', `storage/download/${name}/late.bin`, { token: serviceKey }), 404, 'OBJECT_NOT_FOUND')
  refused(await upload([['bucket', name], ['file', file]]), 400, 'INVALID_REQUEST')
  refused(await upload([['bucket', name], ['path', '../up'], ['file', file]]), 400, 'VALIDATION_FAILED')
  refused(await upload([['bucket', 'no-such-bucket'], ['path', 'a'], ['file', file]]), 404, 'BUCKET_NOT_FOUND')
})

test('list pages with a cursor', async () => {
  const name = await bucket()
  const paths = ['a.txt', 'b/1.txt', 'b/2.txt', 'c.txt', 'd.txt']
  for (const path of paths) assert.equal((await upload([['bucket', name], ['path', path], ['file', new Blob([path])]])).status, 200)
  const seen = []
  let cursor = ''
  do {
    const page = await call('GET', `storage/list/${name}?limit=2${cursor}`, { token: serviceKey })
    assert.equal(page.status, 200, JSON.stringify(page.body))
    seen.push(...page.body.files.map(({ path }) => path))
    cursor = page.body.next_cursor && `&cursor=${encodeURIComponent(page.body.next_cursor)}`
  } while (cursor)
  assert.deepEqual(seen, paths)
})

test('users have what policies give them; what is another\'s is not there', async () => {
  const name = await bucket()
  const [ada, bob] = [await signedIn(), await signedIn()]
  const path = `${ada.user.id}/diary.txt`
  const [hers, his] = [ada.session.access_token, bob.session.access_token]
  const form = [['bucket', name], ['path', path], ['file', new Blob(['dear diary'])]]
  assert.equal((await upload(form, hers)).status, 200)
  refused(await upload([...form.slice(0, 2), ['upsert', 'true'], form[2]], his), 403, 'FORBIDDEN')
  refused(await upload(form, anonKey), 403, 'FORBIDDEN')
  refused(await upload(form, null), 401, 'UNAUTHORIZED')
  assert.equal((await call('GET', `storage/download/${name}/${path}`, { token: hers })).body.toString(), 'dear diary')
  refused(await call('GET', `storage/download/${name}/${path}`, { token: his }), 404, 'OBJECT_NOT_FOUND')
  refused(await call('POST', `storage/sign/${name}/${path}`, { token: his, json: { expires_in: 60 } }), 404, 'OBJECT_NOT_FOUND')
  refused(await call('DELETE', `storage/delete/${name}/${path}`, { token: his }), 404, 'OBJECT_NOT_FOUND')
  assert.deepEqual((await call('GET', `storage/list/${name}`, { token: his })).body.files, [])
  assert.equal((await call('GET', `storage/list/${name}`, { token: hers })).body.files.length, 1)
  assert.equal((await call('DELETE', `storage/delete/${name}/${path}`, { token: hers })).status, 200)
})
