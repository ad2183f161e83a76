// Every method of `supabase.storage` that the embedded service has.

import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { anonKey, client, ok, owner, refusedByStorage, signedIn, sql, url } from '../support/target.mjs'

const bucketName = () => `b-${randomUUID().slice(0, 12)}`

async function bucket(options = { public: false }) {
  const name = bucketName()
  ok(await owner.storage.createBucket(name, options))
  return name
}

/** A bucket in which users have what lies below a folder of their id. */
async function ownFolders() {
  const name = await bucket()
  await sql(`create policy "${name}" on storage.objects for all to authenticated
    using (bucket_id = '${name}' and (storage.foldername(name))[1] = auth.uid()::text)
    with check (bucket_id = '${name}' and (storage.foldername(name))[1] = auth.uid()::text)`)
  return name
}

/** A PNG of one colour. */
async function png(width, height) {
  const { deflateSync, crc32 } = await import('node:zlib')
  const crc = crc32 ?? ((bytes) => {
    let value = ~0
    for (const byte of bytes) {
      value ^= byte
      for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ (0xedb88320 & -(value & 1))
    }
    return ~value >>> 0
  })
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const frame = Buffer.alloc(8 + body.length)
    frame.writeUInt32BE(data.length, 0)
    body.copy(frame, 4)
    frame.writeUInt32BE(crc(body) >>> 0, 4 + body.length)
    return frame
  }
  const head = Buffer.alloc(13)
  head.writeUInt32BE(width, 0)
  head.writeUInt32BE(height, 4)
  head.set([8, 2, 0, 0, 0], 8)
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(width * 3, 200)])
  const pixels = deflateSync(Buffer.concat(Array.from({ length: height }, () => row)))
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10])
  return Buffer.concat([signature, chunk('IHDR', head), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))])
}

const text = async (answer) => ok(answer).text()

test('buckets: create, get, list, update, empty and delete', async () => {
  const name = bucketName()
  const made = ok(await owner.storage.createBucket(name, {
    public: false, fileSizeLimit: 1024, allowedMimeTypes: ['image/*', 'text/plain'],
  }))
  assert.equal(made.name, name)
  refusedByStorage(await owner.storage.createBucket(name), '409', /already exists/i)

  const found = ok(await owner.storage.getBucket(name))
  assert.deepEqual([found.id, found.name, found.public, found.file_size_limit], [name, name, false, 1024])
  assert.deepEqual(found.allowed_mime_types, ['image/*', 'text/plain'])
  assert.ok(found.created_at && found.updated_at)
  refusedByStorage(await owner.storage.getBucket('no-such-bucket'), '404', /bucket not found/i)

  assert.ok(ok(await owner.storage.listBuckets()).some(({ id }) => id === name))
  const searched = ok(await owner.storage.listBuckets({ search: name, limit: 5, sortColumn: 'name', sortOrder: 'desc' }))
  assert.deepEqual(searched.map(({ id }) => id), [name])

  ok(await owner.storage.updateBucket(name, { public: true, fileSizeLimit: 2048, allowedMimeTypes: null }))
  const updated = ok(await owner.storage.getBucket(name))
  assert.deepEqual([updated.public, updated.file_size_limit, updated.allowed_mime_types], [true, 2048, null])

  ok(await owner.storage.from(name).upload('a.txt', 'a'))
  refusedByStorage(await owner.storage.deleteBucket(name), '409', /not empty/i)
  ok(await owner.storage.emptyBucket(name))
  ok(await owner.storage.deleteBucket(name))
  refusedByStorage(await owner.storage.getBucket(name), '404')
  refusedByStorage(await owner.storage.deleteBucket(name), '404')
})

test('a bucket has its limits', async () => {
  const name = await bucket({ public: false, fileSizeLimit: 10, allowedMimeTypes: ['image/png', 'text/*'] })
  const files = owner.storage.from(name)
  ok(await files.upload('a.txt', '1234567890', { contentType: 'text/plain' }))
  refusedByStorage(await files.upload('b.txt', '12345678901', { contentType: 'text/plain' }), '413', /maximum allowed size/i)
  refusedByStorage(await files.upload('c.pdf', '1', { contentType: 'application/pdf' }), '415', /mime type/i)
  refusedByStorage(await files.upload('d.pdf', new Blob(['1'], { type: 'application/pdf' })), '415')
})

test('upload takes every kind of body', async () => {
  const name = await bucket()
  const files = owner.storage.from(name)
  const bytes = randomBytes(100_000)
  const stream = new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += 10_000) controller.enqueue(bytes.subarray(at, at + 10_000))
      controller.close()
    },
  })
  const form = new FormData()
  form.append('', new Blob([bytes]))
  for (const [path, body] of [
    ['buffer', bytes], ['array', bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)],
    ['blob', new Blob([bytes])], ['stream', stream], ['form', form],
  ]) {
    const data = ok(await files.upload(`deep/${path}.bin`, body, { contentType: 'application/octet-stream' }))
    assert.equal(data.path, `deep/${path}.bin`)
    assert.equal(data.fullPath, `${name}/deep/${path}.bin`)
    assert.ok(data.id)
    const back = ok(await files.download(`deep/${path}.bin`))
    assert.deepEqual(Buffer.from(await back.arrayBuffer()), bytes, path)
  }
})

test('names may be in any writing, and none leads elsewhere', async () => {
  const name = await bucket()
  const files = owner.storage.from(name)
  for (const path of ["plain.txt", "with space & (brackets)/it's.txt", 'a+b=c;d@e,f.txt']) {
    ok(await files.upload(path, path))
    assert.equal(await text(await files.download(path)), path)
  }
  for (const path of ['../up.txt', 'a/../../up.txt', '..', 'a/./b']) {
    const answer = await files.upload(path, 'x')
    if (!answer.error) {
      // The client's URL parser has resolved it before it was sent; it lies in no other bucket.
      assert.equal(ok(await owner.storage.from(name).list('', { limit: 100 })).some(({ name }) => name.includes('..')), false)
    }
  }
})

test('upload refuses what is there, unless it is told to replace it', async () => {
  const files = owner.storage.from(await bucket())
  const first = ok(await files.upload('a.txt', 'one'))
  refusedByStorage(await files.upload('a.txt', 'two'), '409', /already exists/i)
  assert.equal(await text(await files.download('a.txt')), 'one')
  const second = ok(await files.upload('a.txt', 'two', { upsert: true }))
  assert.equal(second.id, first.id)
  assert.equal(await text(await files.download('a.txt')), 'two')
})

test('update replaces an object', async () => {
  const files = owner.storage.from(await bucket())
  ok(await files.upload('a.txt', 'one'))
  ok(await files.update('a.txt', 'two', { contentType: 'text/markdown' }))
  assert.equal(await text(await files.download('a.txt')), 'two')
  assert.equal(ok(await files.info('a.txt')).contentType, 'text/markdown')
})

test('info and exists', async () => {
  const files = owner.storage.from(await bucket())
  ok(await files.upload('a.txt', 'hello', { contentType: 'text/plain', cacheControl: '60', metadata: { by: 'Ada' } }))
  const info = ok(await files.info('a.txt'))
  assert.deepEqual([info.name, info.size, info.contentType, info.cacheControl], ['a.txt', 5, 'text/plain', 'max-age=60'])
  assert.deepEqual(info.metadata, { by: 'Ada' })
  assert.ok(info.etag && info.lastModified && info.id && info.version && info.bucketId)
  refusedByStorage(await files.info('b.txt'), '404', /not found/i)
  assert.equal((await files.exists('a.txt')).data, true)
  assert.equal((await files.exists('b.txt')).data, false)
})

test('download, whole and as a stream', async () => {
  const files = owner.storage.from(await bucket())
  const bytes = randomBytes(300_000)
  ok(await files.upload('a.bin', bytes, { contentType: 'application/x-compat' }))
  const blob = ok(await files.download('a.bin'))
  assert.equal(blob.type, 'application/x-compat')
  assert.deepEqual(Buffer.from(await blob.arrayBuffer()), bytes)
  const stream = ok(await files.download('a.bin').asStream())
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  assert.deepEqual(Buffer.concat(chunks), bytes)
  refusedByStorage(await files.download('b.bin'), '404')
})

test('ranges and conditions', async () => {
  const name = await bucket({ public: true })
  ok(await owner.storage.from(name).upload('a.txt', '0123456789'))
  const { publicUrl } = owner.storage.from(name).getPublicUrl('a.txt').data
  const whole = await fetch(publicUrl)
  const etag = whole.headers.get('etag')
  const modified = whole.headers.get('last-modified')
  assert.equal(await whole.text(), '0123456789')
  assert.equal(whole.headers.get('accept-ranges'), 'bytes')
  assert.equal(whole.headers.get('content-length'), '10')
  assert.equal(whole.headers.get('cache-control'), 'max-age=3600')
  for (const [range, status, expected, content] of [
    ['bytes=2-4', 206, '234', 'bytes 2-4/10'], ['bytes=7-', 206, '789', 'bytes 7-9/10'],
    ['bytes=-2', 206, '89', 'bytes 8-9/10'], ['bytes=5-100', 206, '56789', 'bytes 5-9/10'],
  ]) {
    const part = await fetch(publicUrl, { headers: { range } })
    assert.deepEqual([part.status, await part.text(), part.headers.get('content-range')], [status, expected, content], range)
  }
  const beyond = await fetch(publicUrl, { headers: { range: 'bytes=20-30' } })
  assert.ok([400, 416].includes(beyond.status), `${beyond.status}`)
  for (const headers of [{ 'if-none-match': etag }, { 'if-modified-since': modified }]) {
    const same = await fetch(publicUrl, { headers })
    assert.deepEqual([same.status, await same.text()], [304, ''], JSON.stringify(headers))
  }
  const other = await fetch(publicUrl, { headers: { 'if-none-match': '"other"' } })
  assert.equal(other.status, 200)
  const head = await fetch(publicUrl, { method: 'HEAD' })
  assert.deepEqual([head.status, head.headers.get('content-length'), head.headers.get('etag')], [200, '10', etag])
})

test('public URLs are for public buckets', async () => {
  const open = await bucket({ public: true })
  ok(await owner.storage.from(open).upload('a b.html', '<p>', { contentType: 'text/html' }))
  const link = client().storage.from(open).getPublicUrl('a b.html').data.publicUrl
  assert.equal(await (await fetch(link)).text(), '<p>')
  const named = client().storage.from(open).getPublicUrl('a b.html', { download: 'page.html' }).data.publicUrl
  assert.match((await fetch(named)).headers.get('content-disposition'), /^attachment;.*page\.html/)

  const closed = await bucket()
  ok(await owner.storage.from(closed).upload('a.txt', 'secret'))
  const refusal = await fetch(client().storage.from(closed).getPublicUrl('a.txt').data.publicUrl)
  assert.equal(refusal.status, 400)
  assert.equal((await refusal.json()).statusCode, '404')
})

test('createSignedUrl opens an object for a while', async () => {
  const files = owner.storage.from(await bucket())
  ok(await files.upload('a.txt', 'signed'))
  const { signedUrl } = ok(await files.createSignedUrl('a.txt', 60))
  assert.equal(await (await fetch(signedUrl)).text(), 'signed')
  const { signedUrl: named } = ok(await files.createSignedUrl('a.txt', 60, { download: 'b.txt' }))
  assert.match((await fetch(named)).headers.get('content-disposition'), /b\.txt/)

  const code = async (link) => {
    const response = await fetch(link)
    assert.equal(response.status, 400, link)
    return (await response.json()).code
  }
  const { signedUrl: short } = ok(await files.createSignedUrl('a.txt', 1))
  await new Promise((resolve) => setTimeout(resolve, 2100))
  assert.equal(await code(short), 'InvalidJWT')
  assert.equal(await code(signedUrl.slice(0, -6)), 'InvalidJWT')
  ok(await files.upload('other.txt', 'not signed'))
  assert.equal(await code(signedUrl.replace('a.txt', 'other.txt')), 'InvalidSignature')
  refusedByStorage(await files.createSignedUrl('missing.txt', 60), '404')
})

test('createSignedUrls signs many and says what is missing', async () => {
  const files = owner.storage.from(await bucket())
  ok(await files.upload('a.txt', 'A'))
  ok(await files.upload('b.txt', 'B'))
  const signed = ok(await files.createSignedUrls(['a.txt', 'missing.txt', 'b.txt'], 60))
  assert.deepEqual(signed.map(({ path }) => path), ['a.txt', 'missing.txt', 'b.txt'])
  assert.equal(await (await fetch(signed[0].signedUrl)).text(), 'A')
  assert.ok(signed[1].error)
  assert.equal(signed[1].signedUrl, null)
  assert.equal(await (await fetch(signed[2].signedUrl)).text(), 'B')
})

test('createSignedUploadUrl and uploadToSignedUrl', async () => {
  const name = await bucket()
  const files = owner.storage.from(name)
  const { token, path } = ok(await files.createSignedUploadUrl('in.txt'))
  const anonymous = client().storage.from(name)
  const data = ok(await anonymous.uploadToSignedUrl(path, token, 'from outside'))
  assert.equal(data.fullPath, `${name}/in.txt`)
  assert.equal(await text(await files.download('in.txt')), 'from outside')
  refusedByStorage(await anonymous.uploadToSignedUrl(path, token, 'again'), '409')
  assert.ok((await anonymous.uploadToSignedUrl('other.txt', token, 'x')).error)
  const upsert = ok(await files.createSignedUploadUrl('in.txt', { upsert: true }))
  ok(await anonymous.uploadToSignedUrl('in.txt', upsert.token, 'replaced'))
  assert.equal(await text(await files.download('in.txt')), 'replaced')
})

test('list shows one folder', async () => {
  const files = owner.storage.from(await bucket())
  for (const path of ['b.txt', 'a.txt', 'folder/c.txt', 'folder/sub/d.txt', 'other/e.txt']) ok(await files.upload(path, path))
  const root = ok(await files.list())
  assert.deepEqual(root.map(({ name, id }) => [name, id === null]), [['a.txt', false], ['b.txt', false], ['folder', true], ['other', true]])
  const file = root[0]
  assert.deepEqual([file.metadata.size, file.metadata.mimetype], [5, 'text/plain;charset=UTF-8'])
  assert.ok(file.metadata.eTag && file.created_at && file.updated_at)
  assert.deepEqual(ok(await files.list('folder')).map(({ name }) => name), ['c.txt', 'sub'])
  const desc = ok(await files.list('', { limit: 1, offset: 1, sortBy: { column: 'name', order: 'asc' } }))
  assert.deepEqual(desc.map(({ name }) => name), ['b.txt'])
  assert.deepEqual(ok(await files.list('', { search: 'oth' })).map(({ name }) => name), ['other'])
  assert.deepEqual(ok(await files.list('nothing')), [])
})

test('listV2 pages with a cursor', async () => {
  const files = owner.storage.from(await bucket())
  const paths = ['a.txt', 'b/1.txt', 'b/2.txt', 'b/c/3.txt', 'd.txt']
  for (const path of paths) ok(await files.upload(path, path))
  const seen = []
  let cursor
  let pages = 0
  do {
    const page = ok(await files.listV2({ limit: 2, cursor }))
    seen.push(...page.objects.map(({ name }) => name))
    assert.ok(page.objects.length <= 2)
    assert.equal(page.hasNext, page.nextCursor !== undefined)
    cursor = page.nextCursor
    pages += 1
  } while (cursor)
  assert.deepEqual(seen, paths)
  assert.equal(pages, 3)
  const folder = ok(await files.listV2({ prefix: 'b/', with_delimiter: true }))
  assert.deepEqual(folder.objects.map(({ name }) => name), ['b/1.txt', 'b/2.txt'])
  assert.deepEqual(folder.folders.map(({ key, name }) => [key, name]), [['c', 'b/c/']])
})

test('move and copy, also to another bucket', async () => {
  const [from, to] = [await bucket(), await bucket()]
  const files = owner.storage.from(from)
  ok(await files.upload('a.txt', 'content', { metadata: { by: 'Ada' } }))
  ok(await files.copy('a.txt', 'copy.txt'))
  assert.equal(await text(await files.download('copy.txt')), 'content')
  ok(await files.move('copy.txt', 'moved/here.txt'))
  refusedByStorage(await files.download('copy.txt'), '404')
  assert.equal(await text(await files.download('moved/here.txt')), 'content')
  const copied = ok(await files.copy('a.txt', 'there.txt', { destinationBucket: to }))
  assert.equal(copied.path, `${to}/there.txt`)
  assert.deepEqual(ok(await owner.storage.from(to).info('there.txt')).metadata, { by: 'Ada' })
  ok(await files.move('a.txt', 'there2.txt', { destinationBucket: to }))
  assert.equal(await text(await owner.storage.from(to).download('there2.txt')), 'content')
  refusedByStorage(await files.move('a.txt', 'b.txt'), '404')
  ok(await files.upload('x.txt', 'x'))
  refusedByStorage(await files.move('x.txt', 'moved/here.txt'), '409')
})

test('remove deletes what is there', async () => {
  const files = owner.storage.from(await bucket())
  ok(await files.upload('a.txt', 'a'))
  ok(await files.upload('b.txt', 'b'))
  const removed = ok(await files.remove(['a.txt', 'missing.txt']))
  assert.deepEqual(removed.map(({ name }) => name), ['a.txt'])
  refusedByStorage(await files.download('a.txt'), '404')
  assert.equal(await text(await files.download('b.txt')), 'b')
})

test('row-level security decides for every caller', async () => {
  const name = await ownFolders()
  const [ada, bob] = [await signedIn(), await signedIn()]
  const path = `${ada.user.id}/a.txt`
  const [hers, his, nobodys, owners] = [ada.client, bob.client, client(), owner].map((c) => c.storage.from(name))
  ok(await hers.upload(path, 'mine'))
  refusedByStorage(await his.upload(path, 'his'), '403', /row-level security/i)
  refusedByStorage(await his.upload(`${ada.user.id}/b.txt`, 'his'), '403', /row-level security/i)
  refusedByStorage(await nobodys.upload(path, 'nobodys'), '403', /row-level security/i)

  assert.equal(await text(await hers.download(path)), 'mine')
  assert.equal(await text(await owners.download(path)), 'mine')
  for (const other of [his, nobodys]) {
    refusedByStorage(await other.download(path), '404')
    refusedByStorage(await other.info(path), '404')
    refusedByStorage(await other.createSignedUrl(path, 60), '404')
    refusedByStorage(await other.move(path, 'stolen.txt'), '404')
    refusedByStorage(await other.copy(path, 'stolen.txt'), '404')
    assert.deepEqual(ok(await other.remove([path])), [])
    assert.deepEqual(ok(await other.list(ada.user.id)), [])
  }
  assert.deepEqual(ok(await hers.list(ada.user.id)).map(({ name }) => name), ['a.txt'])
  refusedByStorage(await client().storage.createBucket(bucketName()), '403', /row-level security/i)
  refusedByStorage(await ada.client.storage.createBucket(bucketName()), '403', /row-level security/i)
  assert.deepEqual(ok(await client().storage.listBuckets()), [])
  const [row] = await sql('select owner_id from storage.objects where bucket_id = $1', [name])
  assert.equal(row.owner_id, ada.user.id)
  assert.deepEqual(ok(await hers.remove([path])).map(({ name }) => name), [path])
})

test('rows are not deleted behind the service\'s back', async () => {
  const name = await bucket()
  ok(await owner.storage.from(name).upload('a.txt', 'a'))
  await assert.rejects(() => sql('delete from storage.objects where bucket_id = $1', [name]))
  assert.equal(await text(await owner.storage.from(name).download('a.txt')), 'a')
})

test('images are rendered', async (t) => {
  const name = await bucket({ public: true })
  const files = owner.storage.from(name)
  ok(await files.upload('a.png', await png(80, 40), { contentType: 'image/png' }))
  const size = (bytes) => [bytes.readUInt32BE(16), bytes.readUInt32BE(20)]
  const transform = { width: 20, height: 20, resize: 'fill', format: 'origin' }
  const blob = ok(await files.download('a.png', { transform }))
  assert.equal(blob.type, 'image/png')
  assert.deepEqual(size(Buffer.from(await blob.arrayBuffer())), [20, 20])

  const { publicUrl } = files.getPublicUrl('a.png', { transform: { width: 40 } }).data
  const webp = await fetch(publicUrl, { headers: { accept: 'image/webp,*/*' } })
  assert.equal(webp.headers.get('content-type'), 'image/webp')
  assert.ok(webp.headers.get('etag'))

  const { signedUrl } = ok(await files.createSignedUrl('a.png', 60, { transform }))
  const signed = Buffer.from(await (await fetch(signedUrl)).arrayBuffer())
  assert.deepEqual(size(signed), [20, 20])
  const bad = await fetch(publicUrl.replace('width=40', 'width=40&quality=5'))
  assert.equal(bad.status, 400)
  t.diagnostic('rendered as PNG and WebP')
})

test('status, and a wrong token', async () => {
  assert.equal((await fetch(`${url}/storage/v1/status`)).status, 200)
  const forged = await fetch(`${url}/storage/v1/bucket`, { headers: { apikey: anonKey, authorization: 'Bearer forged' } })
  assert.equal(forged.status, 400)
  const body = await forged.json()
  assert.deepEqual([body.statusCode, body.code], ['403', 'AccessDenied'])
  const missing = await fetch(`${url}/storage/v1/nothing/here`, { headers: { authorization: `Bearer ${anonKey}` } })
  assert.equal(missing.status, 404)
})

