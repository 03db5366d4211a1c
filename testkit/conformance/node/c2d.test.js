'use strict';
// Cloud-to-device messages.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Amqp } = require('azure-iot-device-amqp');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Device, TRANSPORTS, drop, noticed, rest, sendC2d, waitingC2d, within } = require('./hub');

/** What the client receives: `next()` resolves with the next message. */
function receiver(client) {
  const received = [];
  const waiting = [];
  client.on('message', (message) => {
    client.complete(message, () => {});
    const take = waiting.shift();
    if (take) take(message);
    else received.push(message);
  });
  const next = () =>
    within(
      new Promise((resolve) => (received.length ? resolve(received.shift()) : waiting.push(resolve))),
      'message',
    );
  return { next, received };
}

/** Resolves once as many messages have left the device's queue as were sent to it. */
async function settled(device, messages = 1) {
  await noticed(device.id, 'c2dEnded', messages);
  assert.equal(await waitingC2d(device.id), 0);
}

function properties(message) {
  return Object.fromEntries(message.properties.propertyList.map(({ key, value }) => [key, value]));
}

for (const transport of TRANSPORTS) {
  test(`a message arrives with its properties over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const messages = receiver(await device.open(transport));

    await sendC2d(device.id, '{"t":21.5}', {
      'iothub-messageid': 'm-1',
      'iothub-correlationid': 'c&1=2',
      'iothub-userid': 'operator',
      'iothub-contenttype': 'application/json',
      'iothub-contentencoding': 'utf-8',
      'iothub-ack': 'full',
      'iothub-app-level': 'high & low/=',
      'iothub-app-empty': '',
    });

    const message = await messages.next();
    assert.equal(message.data.toString(), '{"t":21.5}');
    // Over MQTT the SDK leaves the wish for feedback among the application's properties.
    const { 'iothub-ack': ack = message.ack, ...own } = properties(message);
    assert.equal(ack, 'full');
    assert.deepEqual(own, { level: 'high & low/=', empty: '' });
    assert.equal(message.messageId, 'm-1');
    assert.equal(message.correlationId, 'c&1=2');
    // Over AMQP the SDK drops it.
    if (transport.name.startsWith('Mqtt')) assert.equal(message.userId, 'operator');
    assert.equal(message.contentType, 'application/json');
    assert.equal(message.contentEncoding, 'utf-8');
    await settled(device);
  });
}

for (const transport of [Mqtt, Amqp]) {
  test(`messages sent before the device came wait for it in order over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    for (const body of ['1', '2', '3']) await sendC2d(device.id, body);
    assert.equal(await waitingC2d(device.id), 3);

    const messages = receiver(await device.open(transport));

    for (const body of ['1', '2', '3']) {
      assert.equal((await messages.next()).data.toString(), body);
    }
    await settled(device, 3);
  });

  test(`messages sent between two connections are delivered over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const first = await device.open(transport);
    receiver(first);
    await first.close();
    await sendC2d(device.id, 'while away');

    const messages = receiver(await device.open(transport));

    assert.equal((await messages.next()).data.toString(), 'while away');
    await settled(device);
  });

  test(`binary bodies are kept as they are over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const messages = receiver(await device.open(transport));

    await sendC2d(device.id, Buffer.from([0x00, 0xff, 0xfe]));

    assert.deepEqual((await messages.next()).data, Buffer.from([0x00, 0xff, 0xfe]));
  });
}

test('a dropped connection loses no message', async (t) => {
  const device = await Device.register(t);
  const client = await device.open();
  const messages = receiver(client);
  await sendC2d(device.id, 'before');
  assert.equal((await messages.next()).data.toString(), 'before');
  // The SDK looks for a new connection by itself only while it listens for methods.
  client.onDeviceMethod('any', () => {});
  await settled(device);

  await drop(device.id);
  await sendC2d(device.id, 'meanwhile');

  assert.equal((await messages.next()).data.toString(), 'meanwhile');
  await settled(device, 2);
});

test('a purge says how many messages there were', async (t) => {
  const device = await Device.register(t);
  await sendC2d(device.id, '1');
  await sendC2d(device.id, '2');

  const purged = await (await rest('DELETE', `/devices/${device.id}/commands`)).json();

  assert.deepEqual(purged, { totalMessagesPurged: 2, deviceId: device.id, moduleId: null });
  assert.equal(await waitingC2d(device.id), 0);
});
