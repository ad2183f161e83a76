// Resumable uploads with `tus-js-client`.

import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import * as tus from 'tus-js-client'
import { anonKey, client, ok, owner, serviceKey, signedIn, sql, url } from '../support/target.mjs'

const MEBIBYTE = 1024 * 1024
const endpoint = `${url}/storage/v1/upload/resumable`

async function bucket(options = { public: false }) {
  const name = `t-${randomUUID().slice(0, 12)}`
  ok(await owner.storage.createBucket(name, options))
  return name
}

function upload(bytes, metadata, { token = serviceKey, headers = {}, ...options } = {}) {
  let upload
  const done = new Promise((resolve, reject) => {
    upload = new tus.Upload(bytes, {
      endpoint,
      chunkSize: 6 * MEBIBYTE,
      retryDelays: null,
      headers: { ...(token && { authorization: `Bearer ${token}` }), apikey: anonKey, ...headers },
      metadata: { contentType: 'application/octet-stream', cacheControl: '3600', ...metadata },
      onError: reject,
      onSuccess: () => resolve(upload),
      ...options,
    })
    upload.start()
  })
  return { upload, done }
}

async function content(name, path) {
  return Buffer.from(await ok(await owner.storage.from(name).download(path)).arrayBuffer())
}

const status = (error) => error.originalResponse?.getStatus()

test('an upload in several parts', async () => {
  const name = await bucket()
  const bytes = randomBytes(13 * MEBIBYTE)
  const { done } = upload(bytes, { bucketName: name, objectName: 'folder/big.bin', metadata: JSON.stringify({ by: 'Ada' }) })
  const finished = await done
  assert.ok(finished.url.startsWith(`${endpoint}/`), finished.url)
  assert.deepEqual(await content(name, 'folder/big.bin'), bytes)
  const info = ok(await owner.storage.from(name).info('folder/big.bin'))
  assert.deepEqual([info.size, info.contentType, info.metadata], [bytes.length, 'application/octet-stream', { by: 'Ada' }])
})

test('an upload that broke off is resumed', async () => {
  const name = await bucket()
  const bytes = randomBytes(14 * MEBIBYTE)
  let place
  await new Promise((resolve) => {
    const { upload: first, done } = upload(bytes, { bucketName: name, objectName: 'a.bin' }, {
      onChunkComplete: async () => {
        place = first.url
        await first.abort()
        resolve()
      },
    })
    done.catch(() => {})
  })
  const head = await fetch(place, { method: 'HEAD', headers: { authorization: `Bearer ${serviceKey}`, 'tus-resumable': '1.0.0' } })
  assert.deepEqual([head.status, head.headers.get('upload-offset'), head.headers.get('upload-length')], [200, String(6 * MEBIBYTE), String(bytes.length)])
  assert.ok((await owner.storage.from(name).download('a.bin')).error, 'it is not there before it is whole')
  await new Promise((resolve, reject) => {
    new tus.Upload(bytes, {
      uploadUrl: place, chunkSize: 6 * MEBIBYTE, retryDelays: null,
      headers: { authorization: `Bearer ${serviceKey}` }, onError: reject, onSuccess: resolve,
    }).start()
  })
  assert.deepEqual(await content(name, 'a.bin'), bytes)
})

test('what is there is replaced only with x-upsert', async () => {
  const name = await bucket()
  ok(await owner.storage.from(name).upload('a.bin', 'old'))
  const error = await upload(randomBytes(10), { bucketName: name, objectName: 'a.bin' }).done.catch((e) => e)
  assert.equal(status(error), 409, error.message)
  await upload(Buffer.from('new'), { bucketName: name, objectName: 'a.bin' }, { headers: { 'x-upsert': 'true' } }).done
  assert.equal((await content(name, 'a.bin')).toString(), 'new')
})

test('limits and permissions have true statuses', async () => {
  const name = await bucket({ public: false, fileSizeLimit: 100, allowedMimeTypes: ['image/png'] })
  const png = { bucketName: name, objectName: 'a.png', contentType: 'image/png' }
  const tooLarge = await upload(randomBytes(101), png).done.catch((e) => e)
  assert.equal(status(tooLarge), 413)
  const wrongType = await upload(randomBytes(10), { ...png, contentType: 'text/plain' }).done.catch((e) => e)
  assert.equal(status(wrongType), 415)
  const { session } = await signedIn()
  const forbidden = await upload(randomBytes(10), png, { token: session.access_token }).done.catch((e) => e)
  assert.equal(status(forbidden), 403)
  const missing = await upload(randomBytes(10), { ...png, bucketName: 'no-such-bucket' }).done.catch((e) => e)
  assert.equal(status(missing), 404)
})

test('a user uploads where policies let it, and nobody else goes on with that', async () => {
  const name = await bucket()
  await sql(`create policy "${name}" on storage.objects for all to authenticated
    using (bucket_id = '${name}' and owner_id = auth.uid()::text)
    with check (bucket_id = '${name}')`)
  const [ada, bob] = [await signedIn(), await signedIn()]
  const { done } = upload(Buffer.from('hers'), { bucketName: name, objectName: 'hers.txt' }, { token: ada.session.access_token })
  await done
  assert.equal(await ok(await ada.client.storage.from(name).download('hers.txt')).text(), 'hers')
  assert.ok((await bob.client.storage.from(name).download('hers.txt')).error)
})

test('signed uploads need no credential', async () => {
  const name = await bucket()
  const { token } = ok(await owner.storage.from(name).createSignedUploadUrl('signed.bin'))
  const bytes = randomBytes(7 * MEBIBYTE)
  await upload(bytes, { bucketName: name, objectName: 'signed.bin' }, {
    endpoint: `${endpoint}/sign`, token: null, headers: { 'x-signature': token },
  }).done
  assert.deepEqual(await content(name, 'signed.bin'), bytes)
  const other = await upload(bytes, { bucketName: name, objectName: 'other.bin' }, {
    endpoint: `${endpoint}/sign`, token: null, headers: { 'x-signature': token },
  }).done.catch((e) => e)
  assert.ok(status(other) >= 400, 'another name')
})

test('an upload is terminated, and OPTIONS tells what there is', async () => {
  const name = await bucket()
  const headers = { authorization: `Bearer ${serviceKey}`, 'tus-resumable': '1.0.0' }
  const encode = (value) => Buffer.from(value).toString('base64')
  const made = await fetch(endpoint, {
    method: 'POST',
    headers: { ...headers, 'upload-length': '10', 'upload-metadata': `bucketName ${encode(name)},objectName ${encode('x.bin')}` },
  })
  assert.equal(made.status, 201)
  const place = new URL(made.headers.get('location'), endpoint).href
  assert.equal((await fetch(place, { method: 'DELETE', headers })).status, 204)
  assert.ok([404, 410].includes((await fetch(place, { method: 'HEAD', headers })).status))
  const options = await fetch(endpoint, { method: 'OPTIONS', headers })
  assert.ok([200, 204].includes(options.status))
  assert.match(options.headers.get('tus-extension') ?? '', /creation/)
  assert.ok(client())
})
