'use strict';
// Devices that speak HTTPS only.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Message } = require('azure-iot-device');
const { Http } = require('azure-iot-device-http');
const { Device, events } = require('./hub');

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
