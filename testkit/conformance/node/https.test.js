'use strict';
// Devices that speak HTTPS only.

const assert = require('node:assert/strict');
const { on } = require('node:events');
const { test } = require('node:test');
const { Message } = require('azure-iot-device');
const { Http } = require('azure-iot-device-http');
const { Device, events, noticed, openService, sendC2d, within } = require('./hub');

test('a message arrives with its properties over HTTPS', async (t) => {
  const device = await Device.register(t);
  const message = new Message('{"t":21.5}');
  message.messageId = 'm-1';
  message.correlationId = 'c-1';
  message.contentType = 'application/json';
  message.contentEncoding = 'utf-8';
  message.properties.add('level', 'high+1%');

  await (await device.open(Http)).sendEvent(message);

  const [event, ...more] = await events(device.id);
  assert.deepEqual(more, []);
  assert.equal(event.body, '{"t":21.5}');
  assert.deepEqual(event.applicationProperties, { level: 'high+1%' });
  assert.equal(event.properties['message-id'], 'm-1');
  assert.equal(event.properties['correlation-id'], 'c-1');
  assert.equal(event.properties['content-type'], 'application/json');
  assert.equal(event.properties['content-encoding'], 'utf-8');
  assert.equal(
    event.annotations['iothub-connection-auth-method'],
    '{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}',
  );
});

test('a batch arrives in order over HTTPS', async (t) => {
  const device = await Device.register(t);
  const messages = ['one', 'two', 'three'].map((text) => {
    const message = new Message(text);
    message.properties.add('text', text);
    return message;
  });

  await (await device.open(Http)).sendEventBatch(messages);

  const arrived = await events(device.id);
  assert.deepEqual(arrived.map((event) => event.body), ['one', 'two', 'three']);
  assert.deepEqual(arrived.map((event) => event.applicationProperties.text), ['one', 'two', 'three']);
});

test('a property that HTTPS does not carry is refused', async (t) => {
  const device = await Device.register(t);
  const message = new Message('x');
  message.properties.add('k', 'a b');

  await assert.rejects((await device.open(Http)).sendEvent(message), { name: 'ArgumentError' });

  assert.deepEqual(await events(device.id), []);
});

/** A client that asks for messages often; `next()` resolves with the next one. */
async function receiving(device) {
  const client = await device.open(Http);
  await client.setOptions({ http: { receivePolicy: { interval: 0.05 } } });
  const messages = on(client, 'message');
  return { client, next: async () => (await within(messages.next(), 'message')).value[0] };
}

test('a message to the device arrives with its properties over HTTPS', async (t) => {
  const device = await Device.register(t);
  const { client, next } = await receiving(device);

  await sendC2d(device.id, '{"t":21.5}', {
    'iothub-messageid': 'm-1',
    'iothub-correlationid': 'c-1',
    'iothub-app-level': 'high',
  });

  const message = await next();
  assert.equal(message.data.toString(), '{"t":21.5}');
  assert.equal(message.messageId, 'm-1');
  assert.equal(message.correlationId, 'c-1');
  // The SDK leaves the header's prefix on.
  assert.equal(message.properties.getValue('iothub-app-level'), 'high');
  await client.complete(message);
  await noticed(device.id, 'c2dEnded', 1);
});

test('a message is abandoned, rejected and completed over HTTPS', async (t) => {
  const device = await Device.register(t);
  const service = await openService(t);
  const feedback = await service.feedbackAbout(device.id);
  const { client, next } = await receiving(device);
  for (const text of ['1', '2']) {
    const message = new Message(text);
    message.messageId = `about ${text}`;
    message.ack = 'full';
    await service.client.send(device.id, message);
  }

  await client.abandon(await next());
  const again = await next();
  assert.equal(again.data.toString(), '1');
  await client.reject(again);
  const second = await next();
  assert.equal(second.data.toString(), '2');
  await client.complete(second);

  assert.deepEqual(await feedback.next(), ['about 1', 'Rejected']);
  assert.deepEqual(await feedback.next(), ['about 2', 'Success']);
});
