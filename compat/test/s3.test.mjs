// The S3 protocol with the AWS SDK.

import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CopyObjectCommand, CreateBucketCommand,
  CreateMultipartUploadCommand, DeleteBucketCommand, DeleteObjectCommand, DeleteObjectsCommand,
  GetBucketLocationCommand, GetObjectCommand, HeadBucketCommand, HeadObjectCommand, ListBucketsCommand,
  ListMultipartUploadsCommand, ListObjectsCommand, ListObjectsV2Command, ListPartsCommand,
  PutObjectCommand, S3Client, UploadPartCommand, UploadPartCopyCommand,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { anonKey, ok, owner, signedIn, sql, url } from '../support/target.mjs'

const MEBIBYTE = 1024 * 1024

function s3(credentials = {}) {
  return new S3Client({
    endpoint: `${url}/storage/v1/s3`,
    region: process.env.COMPAT_S3_REGION ?? 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: {
      accessKeyId: process.env.COMPAT_S3_ACCESS_KEY_ID,
      secretAccessKey: process.env.COMPAT_S3_SECRET_ACCESS_KEY,
      ...credentials,
    },
  })
}

const client = s3()

async function bucket() {
  const Bucket = `s3-${randomUUID().slice(0, 12)}`
  await client.send(new CreateBucketCommand({ Bucket }))
  return Bucket
}

async function refused(command, status, name, by = client) {
  const error = await by.send(command).then(() => assert.fail('it is not refused'), (error) => error)
  assert.equal(`${error.$metadata?.httpStatusCode} ${error.name}`, `${status} ${name}`, error.message)
}

const bytesOf = async (answer) => Buffer.from(await answer.Body.transformToByteArray())

test('buckets', async () => {
  const Bucket = await bucket()
  await client.send(new HeadBucketCommand({ Bucket }))
  const { Buckets } = await client.send(new ListBucketsCommand({}))
  assert.ok(Buckets.some(({ Name }) => Name === Bucket))
  await client.send(new GetBucketLocationCommand({ Bucket }))
  await refused(new HeadBucketCommand({ Bucket: 'no-such-bucket' }), 404, 'NotFound')
  await client.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'a' }))
  await refused(new DeleteBucketCommand({ Bucket }), 409, 'BucketNotEmpty').catch(() =>
    refused(new DeleteBucketCommand({ Bucket }), 409, 'ResourceNotEmpty'))
  await client.send(new DeleteObjectCommand({ Bucket, Key: 'a' }))
  await client.send(new DeleteBucketCommand({ Bucket }))
  await refused(new ListObjectsV2Command({ Bucket }), 404, 'NoSuchBucket')
})

test('objects: put, head, get, range, copy and delete', async () => {
  const Bucket = await bucket()
  const Body = randomBytes(200_000)
  const Key = 'folder/ä file (1).bin'
  const put = await client.send(new PutObjectCommand({ Bucket, Key, Body, ContentType: 'image/png', CacheControl: 'max-age=5', Metadata: { by: 'ada' } }))
  assert.ok(put.ETag)
  const head = await client.send(new HeadObjectCommand({ Bucket, Key }))
  assert.deepEqual([head.ContentLength, head.ContentType, head.ETag, head.CacheControl], [Body.length, 'image/png', put.ETag, 'max-age=5'])
  assert.equal(head.Metadata.by, 'ada')
  assert.deepEqual(await bytesOf(await client.send(new GetObjectCommand({ Bucket, Key }))), Body)
  const part = await client.send(new GetObjectCommand({ Bucket, Key, Range: 'bytes=10-19' }))
  assert.deepEqual([part.ContentRange, await bytesOf(part)], [`bytes 10-19/${Body.length}`, Body.subarray(10, 20)])
  const same = await client.send(new GetObjectCommand({ Bucket, Key, IfNoneMatch: put.ETag })).catch((error) => error)
  assert.equal(same.$metadata.httpStatusCode, 304)
  await client.send(new CopyObjectCommand({ Bucket, Key: 'copy.bin', CopySource: `${Bucket}/${encodeURIComponent(Key)}` }))
  assert.deepEqual(await bytesOf(await client.send(new GetObjectCommand({ Bucket, Key: 'copy.bin' }))), Body)
  // The same object for the other protocol.
  assert.equal(ok(await owner.storage.from(Bucket).info('copy.bin')).size, Body.length)
  await client.send(new DeleteObjectCommand({ Bucket, Key }))
  await refused(new GetObjectCommand({ Bucket, Key }), 404, 'NoSuchKey')
  await refused(new HeadObjectCommand({ Bucket, Key }), 404, 'NotFound')
  const { Deleted } = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: 'copy.bin' }] } }))
  assert.deepEqual(Deleted.map(({ Key }) => Key), ['copy.bin'])
})

test('listings, with pages and folders', async () => {
  const Bucket = await bucket()
  const keys = ['a.txt', 'b/1.txt', 'b/2.txt', 'b/c/3.txt', 'd.txt']
  for (const Key of keys) await client.send(new PutObjectCommand({ Bucket, Key, Body: Key }))
  const seen = []
  let ContinuationToken
  do {
    const page = await client.send(new ListObjectsV2Command({ Bucket, MaxKeys: 2, ContinuationToken }))
    seen.push(...page.Contents.map(({ Key }) => Key))
    ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined
  } while (ContinuationToken)
  assert.deepEqual(seen, keys)
  const root = await client.send(new ListObjectsV2Command({ Bucket, Delimiter: '/' }))
  assert.deepEqual(root.Contents.map(({ Key }) => Key), ['a.txt', 'd.txt'])
  assert.deepEqual(root.CommonPrefixes.map(({ Prefix }) => Prefix), ['b/'])
  const below = await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'b/', StartAfter: 'b/1.txt' }))
  assert.deepEqual(below.Contents.map(({ Key }) => Key), ['b/2.txt', 'b/c/3.txt'])
  const old = await client.send(new ListObjectsCommand({ Bucket, Prefix: 'b/', MaxKeys: 1 }))
  assert.deepEqual([old.Contents[0].Key, old.IsTruncated], ['b/1.txt', true])
})

test('multipart uploads', async () => {
  const Bucket = await bucket()
  const Key = 'big.bin'
  const parts = [randomBytes(5 * MEBIBYTE), randomBytes(5 * MEBIBYTE), randomBytes(1000)]
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key, ContentType: 'video/mp4' }))
  const uploads = await client.send(new ListMultipartUploadsCommand({ Bucket }))
  assert.deepEqual(uploads.Uploads.map((upload) => upload.UploadId), [UploadId])
  const Parts = []
  for (const [index, Body] of parts.entries()) {
    const PartNumber = index + 1
    const { ETag } = await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }))
    Parts.push({ ETag, PartNumber })
  }
  const listed = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }))
  assert.deepEqual(listed.Parts.map(({ PartNumber, Size }) => [PartNumber, Size]), parts.map((part, i) => [i + 1, part.length]))
  await refused(new GetObjectCommand({ Bucket, Key }), 404, 'NoSuchKey')
  const done = await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }))
  assert.equal(done.Key, Key)
  const answer = await client.send(new GetObjectCommand({ Bucket, Key }))
  assert.equal(answer.ContentType, 'video/mp4')
  assert.deepEqual(await bytesOf(answer), Buffer.concat(parts))

  const second = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: 'copied.bin' }))
  const copy = await client.send(new UploadPartCopyCommand({
    Bucket, Key: 'copied.bin', UploadId: second.UploadId, PartNumber: 1,
    CopySource: `${Bucket}/${Key}`, CopySourceRange: `bytes=0-${5 * MEBIBYTE - 1}`,
  }))
  await client.send(new CompleteMultipartUploadCommand({
    Bucket, Key: 'copied.bin', UploadId: second.UploadId,
    MultipartUpload: { Parts: [{ ETag: copy.CopyPartResult.ETag, PartNumber: 1 }] },
  }))
  assert.deepEqual(await bytesOf(await client.send(new GetObjectCommand({ Bucket, Key: 'copied.bin' }))), parts[0])

  const third = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: 'aborted.bin' }))
  await client.send(new AbortMultipartUploadCommand({ Bucket, Key: 'aborted.bin', UploadId: third.UploadId }))
  await refused(new ListPartsCommand({ Bucket, Key: 'aborted.bin', UploadId: third.UploadId }), 404, 'NoSuchUpload')
})

test('lib-storage uploads a stream', async () => {
  const Bucket = await bucket()
  const Body = randomBytes(12 * MEBIBYTE)
  await new Upload({ client, params: { Bucket, Key: 'stream.bin', Body }, partSize: 5 * MEBIBYTE, queueSize: 3 }).done()
  assert.deepEqual(await bytesOf(await client.send(new GetObjectCommand({ Bucket, Key: 'stream.bin' }))), Body)
})

test('presigned URLs', async () => {
  const Bucket = await bucket()
  const put = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 60 })
  const written = await fetch(put, { method: 'PUT', body: 'presigned' })
  assert.equal(written.status, 200, await written.text())
  const get = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: 'a.txt' }), { expiresIn: 60 })
  assert.equal(await (await fetch(get)).text(), 'presigned')
  const tampered = await fetch(get.replace('a.txt', 'b.txt'))
  assert.equal(tampered.status, 403)
  assert.match(await tampered.text(), /SignatureDoesNotMatch/)
})

test('wrong credentials', async () => {
  const Bucket = await bucket()
  await refused(new ListObjectsV2Command({ Bucket }), 403, 'SignatureDoesNotMatch', s3({ secretAccessKey: 'wrong' }))
  await refused(new ListObjectsV2Command({ Bucket }), 403, 'InvalidAccessKeyId', s3({ accessKeyId: 'wrong' }))
})

test('a user signs with its token, and row-level security decides', async () => {
  const Bucket = await bucket()
  await sql(`create policy "${Bucket}" on storage.objects for all to authenticated
    using (bucket_id = '${Bucket}' and owner_id = auth.uid()::text) with check (bucket_id = '${Bucket}')`)
  // The client asks for the bucket, too.
  await sql(`create policy "b-${Bucket}" on storage.buckets for select to authenticated using (id = '${Bucket}')`)
  const [ada, bob] = [await signedIn(), await signedIn()]
  const as = ({ session }) => s3({ accessKeyId: process.env.COMPAT_S3_PROJECT ?? 'default', secretAccessKey: anonKey, sessionToken: session.access_token })
  await as(ada).send(new PutObjectCommand({ Bucket, Key: 'hers.txt', Body: 'hers' }))
  assert.equal((await bytesOf(await as(ada).send(new GetObjectCommand({ Bucket, Key: 'hers.txt' })))).toString(), 'hers')
  await refused(new GetObjectCommand({ Bucket, Key: 'hers.txt' }), 404, 'NoSuchKey', as(bob))
})
