'use strict';
// Import and export of the registry through a container of the emulator's storage account.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { ContainerClient, ContainerSASPermissions } = require('@azure/storage-blob');
const { LIMIT, randomId, registryAs, storage } = require('./hub');

const registry = registryAs('registryReadWrite');

/** A container and a URI that lets its holder use it; gone when the test `t` ends. */
async function container(t) {
  const client = new ContainerClient(storage, randomId());
  await client.create();
  t.after(() => client.delete());
  const uri = await client.generateSasUrl({
    permissions: ContainerSASPermissions.parse('rwdl'),
    expiresOn: new Date(Date.now() + 3600 * 1000),
  });
  return { client, uri };
}

/** The job once it has come to its end. */
async function ended(job) {
  const deadline = Date.now() + LIMIT * 1000;
  for (;;) {
    const { status } = (job = await registry.getJob(job.jobId));
    if (!['enqueued', 'running'].includes(status)) return job;
    if (Date.now() > deadline) throw new Error(`job ${job.jobId} is ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('what was exported is imported again', async (t) => {
  const { client, uri } = await container(t);
  const deviceId = randomId();
  const { responseBody: created } = await registry.create({ deviceId, status: 'disabled' });

  const exported = await ended(await registry.exportDevicesToBlob(uri, false));
  assert.equal(exported.status, 'completed');
  const blob = client.getBlockBlobClient('devices.txt');
  const lines = (await blob.downloadToBuffer()).toString().split('\n');
  const mine = lines.filter((line) => line && JSON.parse(line).id === deviceId).join('\n');
  await blob.upload(mine, mine.length);
  await registry.delete(deviceId);
  const imported = await ended(await registry.importDevicesFromBlob(uri, uri));

  assert.equal(imported.status, 'completed');
  const { responseBody: device } = await registry.get(deviceId);
  assert.equal(device.status, 'disabled');
  assert.deepEqual(device.authentication, created.authentication);
  const { responseBody: jobs } = await registry.listJobs();
  assert.ok(jobs.some((job) => job.jobId === imported.jobId));
  await registry.cancelJob(imported.jobId);
});

test('the identity of the hub is enough for its storage', async (t) => {
  const { client } = await container(t);
  const deviceId = randomId();
  await registry.create({ deviceId });
  await assert.rejects(registry.exportDevicesToBlob(client.url, false), { name: 'ArgumentError' });

  const exported = await ended(await registry.exportDevicesToBlobByIdentity(client.url, false));
  assert.equal(exported.status, 'completed');
  const blob = client.getBlockBlobClient('devices.txt');
  const lines = (await blob.downloadToBuffer()).toString().split('\n');
  const mine = lines.filter((line) => line && JSON.parse(line).id === deviceId).join('\n');
  await blob.upload(mine, mine.length);
  await registry.delete(deviceId);
  const imported = await ended(await registry.importDevicesFromBlobByIdentity(client.url, client.url));

  assert.equal(imported.status, 'completed');
  assert.equal((await registry.get(deviceId)).responseBody.deviceId, deviceId);
});

test('storage of somebody else is refused', async () => {
  const uri = 'https://account.blob.core.windows.net/c?sv=2018-03-28&sr=c&sig=AAAA&sp=rwdl&se=2099-01-01';

  await assert.rejects(registry.exportDevicesToBlob(uri, false), { name: 'ArgumentError' });
});
