// What is tested, as the runner says it: a BunBun at COMPAT_URL, and the one whose database and
// mailbox it is at COMPAT_BACK_URL (the same, unless the services are remote).

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

function required(name) {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set; compat/run sets it`)
  return value
}

export const url = required('COMPAT_URL')
export const backUrl = process.env.COMPAT_BACK_URL ?? url
export const anonKey = required('COMPAT_ANON_KEY')
export const serviceKey = required('COMPAT_SERVICE_KEY')
export const mode = process.env.COMPAT_MODE ?? 'embedded'

/** A client as an application has it; nothing outlives the test. */
export function client(key = anonKey, { headers, ...auth } = {}) {
  return createClient(url, key, {
    auth: { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false, ...auth },
    global: headers ? { headers } : {},
    realtime: { transport: WebSocket },
  })
}

/** The project's owner. */
export const owner = client(serviceKey)

/** An address that no other test has. */
export function address(name = 'user') {
  return `${name}-${randomUUID().slice(0, 12)}@example.com`
}

export const password = 'correct horse battery 9'

/** A confirmed user that has signed in, with a client of its own. */
export async function signedIn(attributes = {}, options = {}) {
  const email = attributes.email ?? address()
  const made = ok(
    await owner.auth.admin.createUser({ email, password, email_confirm: true, ...attributes }),
  )
  const own = client(anonKey, options)
  const { session, user } = ok(await own.auth.signInWithPassword({ email, password }))
  assert.equal(user.id, made.user.id)
  return { client: own, user, session, email }
}

/** The data of an answer without an error. */
export function ok({ data, error }) {
  assert.equal(error, null, error && `${error.name}: ${error.message} (${error.status} ${error.code})`)
  return data
}

/** The error of an answer, whose status and code are the given ones. */
export function refused({ data, error }, status, code) {
  assert.ok(error, `there is no error, but ${JSON.stringify(data)}`)
  assert.equal(`${error.status} ${error.code}`, `${status} ${code}`, error.message)
  return error
}

/** What the client makes of `session_not_found`. */
export function sessionMissing({ error }) {
  assert.equal(error?.name, 'AuthSessionMissingError', error?.message)
}

/** The error of storage: HTTP 400, and the true status as a text. */
export function refusedByStorage({ data, error }, statusCode, message) {
  assert.ok(error, `there is no error, but ${JSON.stringify(data)}`)
  assert.equal(`${error.status} ${error.statusCode}`, `400 ${statusCode}`, error.message)
  if (message) assert.match(error.message, message)
  return error
}

/** Rows of a statement of the owner's. */
export async function sql(text, params = []) {
  const response = await fetch(`${backUrl}/api/db/query`, {
    method: 'POST',
    headers: { authorization: `Bearer ${serviceKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ sql: text, params }),
  })
  const answer = await response.json()
  assert.equal(response.status, 200, JSON.stringify(answer))
  return answer.rows
}

/** The latest mail of a kind to an address. */
export async function mail(to, kind) {
  const deadline = Date.now() + 10_000
  for (;;) {
    const response = await fetch(`${backUrl}/api/dev/mailbox`, {
      headers: { authorization: `Bearer ${serviceKey}` },
    })
    assert.equal(response.status, 200, 'the mailbox of `bunbun dev`')
    const { mails } = await response.json()
    const found = mails.find((mail) => mail.to === to && mail.kind === kind)
    if (found) return found
    assert.ok(Date.now() < deadline, `no ${kind} mail to ${to}: ${JSON.stringify(mails.map((m) => [m.to, m.kind]))}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** The claims of a token, unverified. */
export function claims(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())
}

/** A link as it is behind this target: mails name the BunBun that sent them. */
export function here(link) {
  const { pathname, search } = new URL(link)
  return `${url}${pathname}${search}`
}

/** Where a link leads, without going there. */
export async function redirect(link, init = {}) {
  const response = await fetch(link, { redirect: 'manual', ...init })
  const location = response.headers.get('location')
  assert.ok(location, `${link} answers ${response.status} ${await response.text()}`)
  return { status: response.status, location: new URL(location) }
}

/** The parameters in a URL's fragment. */
export function fragment(location) {
  return new URLSearchParams(location.hash.slice(1))
}
