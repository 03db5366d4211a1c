'use strict';
// Scheduled jobs through the service SDK.

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { test } = require('node:test');
const { setTimeout: pause } = require('node:timers/promises');
const { JobClient } = require('azure-iothub');
const { Device, LIMIT, randomId, registry } = require('./hub');

const ready = JSON.parse(readFileSync(process.env.CONFORMANCE_READY_FILE, 'utf8'));
const jobs = JobClient.fromConnectionString(ready.connection_strings.iothubowner);
const patch = { etag: '*', tags: { site: 'A' }, properties: { desired: { x: 1 } } };
const only = (...ids) => `deviceId IN [${ids.map((id) => `'${id}'`).join(', ')}]`;

/** The job once it is neither waiting nor running. */
async function ended(id) {
  for (const deadline = Date.now() + LIMIT * 1000; Date.now() < deadline; await pause(100)) {
    const job = (await jobs.getJob(id)).jobStatus;
    if (!['queued', 'scheduled', 'running'].includes(job.status)) return job;
  }
  throw new Error(`${id} has not ended`);
}

test('a twin job updates twins', async (t) => {
  const device = await Device.register(t);
  const id = randomId();

  const created = (await jobs.scheduleTwinUpdate(id, only(device.id), patch, new Date(), 60)).jobStatus;

  assert.equal(created.status, 'queued');
  assert.deepEqual(created.updateTwin, patch);
  const done = await ended(id);
  assert.equal(done.status, 'completed');
  assert.equal(done.deviceJobStatistics.succeededCount, 1);
  const twin = (await registry.getTwin(device.id)).responseBody;
  assert.deepEqual(twin.tags, patch.tags);
  assert.equal(twin.properties.desired.x, 1);
});

test('a method job calls devices, and each has a row in devices.jobs', async (t) => {
  const device = await Device.register(t);
  const offline = await Device.register(t);
  const client = await device.open();
  let payload;
  const subscribed = new Promise((resolve) => {
    client.onDeviceMethod('reboot', (request, response) => {
      payload = request.payload;
      response.send(202, { ok: true });
    });
    // The subscription is made in the background; a twin answers after it.
    client.getTwin(() => resolve());
  });
  await subscribed;
  const id = randomId();
  const method = { methodName: 'reboot', payload: { delay: 5 }, responseTimeoutInSeconds: LIMIT };

  await jobs.scheduleDeviceMethod(id, only(device.id, offline.id), method, new Date(), 60);

  const done = await ended(id);
  const { succeededCount, failedCount } = done.deviceJobStatistics;
  assert.deepEqual([succeededCount, failedCount], [1, 1]);
  assert.deepEqual(payload, { delay: 5 });
  const query = registry.createQuery(
    `SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${id}'`);
  const rows = (await query.next()).result;
  const row = rows.find((row) => row.deviceId === device.id);
  assert.deepEqual(row.outcome.deviceMethodResponse, { status: 202, payload: { ok: true } });
  const failed = rows.find((row) => row.deviceId === offline.id);
  assert.deepEqual([failed.status, failed.error.code], ['failed', '404103']);
});

test('a job is cancelled', async (t) => {
  const device = await Device.register(t);
  const id = randomId();
  const later = new Date(Date.now() + 3600 * 1000);
  const created = (await jobs.scheduleTwinUpdate(id, only(device.id), patch, later, 60)).jobStatus;
  assert.equal(created.status, 'queued');

  assert.equal((await jobs.cancelJob(id)).jobStatus.status, 'cancelled');

  assert.equal((await jobs.getJob(id)).jobStatus.status, 'cancelled');
  assert.deepEqual((await registry.getTwin(device.id)).responseBody.tags, {});
});

test('jobs are listed page by page', async (t) => {
  const device = await Device.register(t);
  const ids = [randomId(), randomId(), randomId()];
  for (const id of ids) {
    await jobs.scheduleTwinUpdate(id, only(device.id), patch, new Date(), 60);
    await ended(id);
  }

  const query = jobs.createQuery('scheduleUpdateTwin', 'completed', 2);
  const listed = [];
  while (query.hasMoreResults) {
    // Without a callback the SDK goes on only from a token that it is handed.
    const page = (await query.next(query.continuationToken)).result;
    assert.ok(page.length <= 2);
    listed.push(...page.map((job) => job.jobId));
  }

  for (const id of ids) assert.ok(listed.includes(id), id);
  assert.equal(new Set(listed).size, listed.length);
});

test('an unknown job and a stale etag are refused', async (t) => {
  const device = await Device.register(t);

  await assert.rejects(jobs.getJob(randomId()), (error) => /Not found|JobNotFound/i.test(error.message));
  await assert.rejects(
    jobs.scheduleTwinUpdate(randomId(), only(device.id), { ...patch, etag: 'AAAAAAAAAAE=' }, new Date(), 60),
    { name: 'ArgumentError' });
});
