'use strict';
// File upload: the device SDK does everything itself, from the signature to the notification.

const assert = require('node:assert/strict');
const { createHash, randomBytes } = require('node:crypto');
const { Readable } = require('node:stream');
const { test } = require('node:test');
const { ContainerClient } = require('@azure/storage-blob');
const { Device, storage } = require('./hub');

const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** The container of devices' files, opened by the account's key. */
function uploads() {
  return new ContainerClient(storage, 'uploads');
}

for (const size of [11, 5 * 1024 * 1024 + 7]) {
  test(`uploadToBlob puts ${size} bytes into the container`, async (t) => {
    const device = await Device.register(t);
    const content = randomBytes(size);

    await (await device.open()).uploadToBlob('f/x-1.bin', Readable.from([content]), size);

    const blob = uploads().getBlobClient(`${device.id}/f/x-1.bin`);
    assert.equal(digest(await blob.downloadToBuffer()), digest(content));
    const properties = await blob.getProperties();
    assert.equal(properties.contentLength, size);
    assert.equal(properties.blobType, 'BlockBlob');
  });
}

test('an upload can be done step by step', async (t) => {
  const device = await Device.register(t);
  const client = await device.open();

  const info = await client.getBlobSharedAccessSignature('step.txt');
  const url = `https://${info.hostName}/${info.containerName}/${info.blobName}${info.sasToken}`;
  const put = await fetch(url, {
    method: 'PUT',
    headers: { 'x-ms-blob-type': 'BlockBlob' },
    body: 'by hand',
  });
  assert.equal(put.status, 201);
  await client.notifyBlobUploadStatus(info.correlationId, true, 200, 'ok');

  const names = [];
  for await (const blob of uploads().listBlobsFlat({ prefix: `${device.id}/` })) {
    names.push(blob.name);
  }
  assert.deepEqual(names, [`${device.id}/step.txt`]);
});

test('an upload whose file never came cannot be finished', async (t) => {
  const device = await Device.register(t);
  const client = await device.open();
  const info = await client.getBlobSharedAccessSignature('never.txt');

  await assert.rejects(client.notifyBlobUploadStatus(info.correlationId, true, 200, 'ok'));

  await client.notifyBlobUploadStatus(info.correlationId, false, 500, 'gave up');
});
