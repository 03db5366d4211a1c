'use strict';
// Device-to-cloud messages and the properties that travel with them.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Message } = require('azure-iot-device');
const { Amqp } = require('azure-iot-device-amqp');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Device, TRANSPORTS, events } = require('./hub');

for (const transport of TRANSPORTS) {
  test(`a message arrives with all its properties over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const message = new Message('{"t":21.5}');
    message.messageId = 'm-1+2%';
    message.correlationId = 'c&1=2';
    message.contentType = 'application/json';
    message.contentEncoding = 'utf-8';
    message.properties.add('level', 'höch & low');
    message.properties.add('a b', "it's (c+d)/e");

    await (await device.open(transport)).sendEvent(message);

    const [event, ...more] = await events(device.id);
    assert.deepEqual(more, []);
    assert.equal(event.body, '{"t":21.5}');
    assert.deepEqual(event.applicationProperties, { level: 'höch & low', 'a b': "it's (c+d)/e" });
    assert.equal(event.properties['message-id'], 'm-1+2%');
    assert.equal(event.properties['correlation-id'], 'c&1=2');
    assert.equal(event.properties['content-type'], 'application/json');
    assert.equal(event.properties['content-encoding'], 'utf-8');
    assert.equal(event.annotations['iothub-connection-device-id'], device.id);
    assert.equal(event.annotations['iothub-message-source'], 'Telemetry');
  });
}

for (const transport of [Mqtt, Amqp]) {
  test(`messages of one device keep their order over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const client = await device.open(transport);
    const numbers = Array.from({ length: 50 }, (_, number) => String(number));

    await Promise.all(numbers.map((number) => client.sendEvent(new Message(number))));

    assert.deepEqual((await events(device.id)).map((event) => event.body), numbers);
  });

  test(`binary bodies are kept as they are over ${transport.name}`, async (t) => {
    const device = await Device.register(t);

    await (await device.open(transport)).sendEvent(new Message(Buffer.from([0x00, 0xff, 0xfe])));

    const [event] = await events(device.id);
    assert.equal(event.body, 'AP/+');
    assert.equal(event.bodyEncoding, 'base64');
  });

  test(`a module sends to an output over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const module = await device.openModule('m1', transport);

    await module.sendOutputEvent('out1', new Message('from an output'));
    await module.sendEvent(new Message('from the module'));

    const seen = await events(device.id);
    assert.deepEqual(seen.map((event) => event.body), ['from an output', 'from the module']);
    for (const event of seen) {
      assert.equal(event.annotations['iothub-connection-module-id'], 'm1');
    }
  });
}
