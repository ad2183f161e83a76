// The README's JavaScript, as it stands there, against a `bunbun dev` as anyone starts it. Its
// shell commands are run by crates/bunbun/tests/it/readme.rs.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { promisify } from 'node:util'

const url = process.env.COMPAT_PLAIN_URL
const serviceKey = process.env.COMPAT_PLAIN_SERVICE_KEY

async function post(path, body) {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${serviceKey}`, 'content-type': 'application/json' },
    body,
  })
  assert.equal(response.status, 200, await response.text())
}

test('the five minutes with supabase-js', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const [, script] = readme.match(/```js\n([^]*?)```/)
  const [, migration] = readme.match(/<<'JSON'\n([^]*?)\nJSON\n/)
  assert.ok(script.includes('http://127.0.0.1:3000'))
  await post('/storage/v1/bucket', '{"name": "photos"}')
  await post('/api/db/migrate', migration)

  const file = new URL('../readme-test.mjs', import.meta.url)
  // Node 20 has no WebSocket, which the client wants even where it is not used.
  const before = "import WebSocket from 'ws'\nglobalThis.WebSocket ??= WebSocket\n"
  await writeFile(file, before + script.replace('http://127.0.0.1:3000', url))
  try {
    const env = { ...process.env, ANON_KEY: process.env.COMPAT_PLAIN_ANON_KEY }
    const { stdout } = await promisify(execFile)(process.execPath, [file.pathname], { env, timeout: 60_000 })
    assert.equal(stdout, 'Hello from supabase-js\n')
  } finally {
    await rm(file)
  }
})
