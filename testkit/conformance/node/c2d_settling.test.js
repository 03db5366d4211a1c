'use strict';
// What a device does with a cloud-to-device message, and what the sender hears of it.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { test } = require('node:test');
const { Message } = require('azure-iot-common');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const { Device, openService, waitingC2d, within } = require('./hub');

/** How often a message is delivered at most. */
const MAX_DELIVERIES = 10;

/** A back end that wants to hear what becomes of the device's messages. */
async function sender(t, device) {
  const service = await openService(t);
  const feedback = await service.feedbackAbout(device.id);
  const send = async (body) => {
    const message = new Message(body);
    message.ack = 'full';
    message.messageId = `about ${body}`;
    await service.client.send(device.id, message);
  };
  return { send, feedback };
}

for (const transport of [Amqp, AmqpWs]) {
  test(`a message is completed over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const { send, feedback } = await sender(t, device);
    const client = await device.open(transport);
    client.on('message', (message) => client.complete(message, () => {}));

    await send('1');

    assert.deepEqual(await feedback.next(), ['about 1', 'Success']);
    assert.equal(await waitingC2d(device.id), 0);
  });

  test(`a message is rejected over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const { send, feedback } = await sender(t, device);
    const client = await device.open(transport);
    client.on('message', (message) => client.reject(message, () => {}));

    await send('1');

    assert.deepEqual(await feedback.next(), ['about 1', 'Rejected']);
    assert.equal(await waitingC2d(device.id), 0);
  });

  test(`an abandoned message comes again until it has come too often over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const { send, feedback } = await sender(t, device);
    const client = await device.open(transport);
    const seen = [];
    client.on('message', (message) => {
      seen.push(message.data.toString());
      client.abandon(message, () => {});
    });

    await send('1');

    assert.deepEqual(await feedback.next(), ['about 1', 'DeliveryCountExceeded']);
    assert.deepEqual(seen, Array(MAX_DELIVERIES).fill('1'));
  });
}

test('what a device left unsettled comes again after it is gone', async (t) => {
  const device = await Device.register(t);
  const { send, feedback } = await sender(t, device);
  const first = await device.open(Amqp);
  const arrival = once(first, 'message');
  await send('1');
  await within(arrival, 'message');
  await first.close();
  assert.equal(await waitingC2d(device.id), 1);

  const second = await device.open(Amqp);
  second.on('message', (message) => second.complete(message, () => {}));

  assert.deepEqual(await feedback.next(), ['about 1', 'Success']);
});
