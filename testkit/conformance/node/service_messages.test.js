'use strict';
// What the service SDK sends to devices, and what it hears of them, over its own AMQP connection.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Message } = require('azure-iot-common');
const { Amqp, AmqpWs } = require('azure-iothub');
const {
  Device, connectionString, openService, randomId, refused, rest, waitingC2d, within,
} = require('./hub');

const QUEUE_LIMIT = 50;

/** The next message of a device, which completes it. */
async function receive(device) {
  const client = await device.open();
  const arrival = new Promise((resolve) => {
    client.on('message', (message) => client.complete(message, () => resolve(message)));
  });
  return within(arrival, 'message');
}

for (const transport of [Amqp, AmqpWs]) {
  test(`a message arrives with its properties over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const { client } = await openService(t, { transport });
    const message = new Message('{"t":21.5}');
    message.messageId = 'm-1';
    message.correlationId = 'c&1=2';
    message.contentType = 'application/json';
    message.contentEncoding = 'utf-8';
    message.properties.add('level', 'high & low/=');

    await client.send(device.id, message);

    const received = await receive(device);
    assert.equal(received.data.toString(), '{"t":21.5}');
    assert.equal(received.messageId, 'm-1');
    assert.equal(received.correlationId, 'c&1=2');
    assert.equal(received.properties.getValue('level'), 'high & low/=');
  });

  test(`feedback comes back over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const service = await openService(t, { transport });
    const feedback = await service.feedbackAbout(device.id);
    const message = new Message('hello');
    message.messageId = 'm-1';
    message.ack = 'full';

    await service.client.send(device.id, message);
    await receive(device);

    assert.deepEqual(await feedback.next(), ['m-1', 'Success']);
  });

  test(`an uploaded file is announced over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const { client } = await openService(t, { transport });
    const { result: receiver } = await client.getFileNotificationReceiver();
    const notification = found(receiver, (record) => record.deviceId === device.id);

    await upload(device);

    const record = await within(notification, 'file notification');
    assert.equal(record.blobName, `${device.id}/a.txt`);
    assert.equal(record.blobSizeInBytes, 7);
    assert.match(record.blobUri, /^https?:\/\/.*\/a\.txt$/);
    assert.ok(Date.parse(record.enqueuedTimeUtc));
  });
}

/** Uploads a small file as the device. */
async function upload(device) {
  const client = await device.open();
  const info = await client.getBlobSharedAccessSignature('a.txt');
  const url = `https://${info.hostName}/${info.containerName}/${info.blobName}${info.sasToken}`;
  const headers = { 'x-ms-blob-type': 'BlockBlob' };
  assert.equal((await fetch(url, { method: 'PUT', headers, body: 'content' })).status, 201);
  await client.notifyBlobUploadStatus(info.correlationId, true, 200, 'ok');
}

/** The first record that satisfies the predicate; each message is settled in the way that is said. */
function found(receiver, predicate, settle = ['complete']) {
  return new Promise((resolve, reject) => {
    receiver.on('error', reject);
    receiver.on('message', (message) => {
      const records = [JSON.parse(message.data)].flat();
      const record = records.find(predicate);
      const how = record ? settle.shift() : 'complete';
      receiver[how](message, () => {
        if (record && settle.length === 0) resolve(record);
      });
    });
  });
}

test('an abandoned file notification comes again, a rejected one does not', async (t) => {
  const device = await Device.register(t);
  const { client } = await openService(t);
  const { result: receiver } = await client.getFileNotificationReceiver();
  let seen = 0;
  const ours = (record) => record.deviceId === device.id && ++seen;

  const settled = found(receiver, ours, ['abandon', 'abandon', 'reject']);
  await upload(device);
  await within(settled, 'third delivery');

  assert.equal(seen, 3);
  assert.equal((await rest('GET', '/messages/serviceBound/filenotifications')).status, 204);
});

test('abandoned feedback comes again', async (t) => {
  const device = await Device.register(t);
  const { client } = await openService(t);
  const { result: receiver } = await client.getFeedbackReceiver();
  let seen = 0;
  const ours = (record) => record.deviceId === device.id && ++seen;
  const settled = found(receiver, ours, ['abandon', 'complete']);
  const message = new Message('hello');
  message.ack = 'positive';

  await client.send(device.id, message);
  await receive(device);
  await within(settled, 'second delivery');

  assert.equal(seen, 2);
});

test('an unknown device is not found', async (t) => {
  const { client } = await openService(t);

  await assert.rejects(client.send(randomId(), 'lost'), refused('DeviceNotFoundError'));
});

test('a full queue takes no more', async (t) => {
  const device = await Device.register(t);
  const { client } = await openService(t);
  for (let number = 0; number < QUEUE_LIMIT; number += 1) await client.send(device.id, 'x');

  await assert.rejects(
    client.send(device.id, 'one too many'),
    refused('DeviceMaximumQueueDepthExceededError'),
  );

  assert.equal(await waitingC2d(device.id), QUEUE_LIMIT);
});

test('a wrong key is refused', async (t) => {
  const wrong = Buffer.alloc(32, 'x').toString('base64');
  const text = connectionString('service').replace(/SharedAccessKey=.*/, `SharedAccessKey=${wrong}`);

  // The SDK wraps its own error once more.
  const unauthorized = refused('UnauthorizedError');
  await assert.rejects(openService(t, { text }), (error) => unauthorized(error.amqpError));
});

test('who may only read the registry may not send', async (t) => {
  const device = await Device.register(t);
  const service = openService(t, { text: connectionString('registryRead') });

  await assert.rejects(
    service.then(({ client }) => client.send(device.id, 'x')),
    refused('UnauthorizedError'),
  );
});
