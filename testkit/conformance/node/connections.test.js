'use strict';
// Who may connect, and what happens to a connection while it lives.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Client, Message, SharedAccessSignature } = require('azure-iot-device');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const {
  Device, connections, disconnected, drop, events, hostName, invoke, randomId, reconnected, refused,
  registry,
} = require('./hub');

const unauthorized = refused('UnauthorizedError');

for (const transport of [Mqtt, MqttWs]) {
  test(`a wrong key is refused over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    device.key = Buffer.alloc(32, 'x').toString('base64');

    await assert.rejects(device.open(transport), unauthorized);
  });

  test(`the registry shows who is connected over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    assert.equal((await registry.get(device.id)).responseBody.connectionState, 'Disconnected');

    await device.open(transport);

    assert.equal((await registry.get(device.id)).responseBody.connectionState, 'Connected');
  });
}

test('the secondary key is as good as the primary', async (t) => {
  const device = await Device.register(t);
  device.key = device.secondaryKey;

  await device.open();
});

test('an expired token is refused', async (t) => {
  const device = await Device.register(t);
  const connect = (seconds) => {
    const expiry = Math.floor(Date.now() / 1000) + seconds;
    const token = SharedAccessSignature.create(hostName, device.id, device.key, expiry).toString();
    return device.keep(Client.fromSharedAccessSignature(token, Mqtt)).open();
  };

  await connect(3600);

  await assert.rejects(connect(-3600), unauthorized);
});

test('an unknown device is refused', async (t) => {
  const device = await Device.register(t);
  device.id = randomId();

  await assert.rejects(device.open(), unauthorized);
});

test('a disabled device is disconnected and refused', async (t) => {
  const device = await Device.register(t);
  const client = await device.open();
  const gone = disconnected(client);

  const { responseBody: identity } = await registry.get(device.id);
  await registry.update({
    deviceId: device.id, status: 'disabled', authentication: identity.authentication,
  });

  await gone;
  await assert.rejects(device.open(), unauthorized);
});

test('a deleted device is disconnected and refused', async (t) => {
  const device = await Device.register(t);
  const gone = disconnected(await device.open());

  await registry.delete(device.id);

  await gone;
  await assert.rejects(device.open(), unauthorized);
});

test('a second client takes the connection over', async (t) => {
  const device = await Device.register(t);
  const gone = disconnected(await device.open());

  const second = await device.open();

  await gone;
  await second.sendEvent(new Message('from the second'));
  assert.deepEqual((await events(device.id)).map((event) => event.body), ['from the second']);
  assert.equal((await connections(device.id)).length, 1);
});

for (const transport of [Mqtt, MqttWs]) {
  test(`a dropped connection comes back over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const client = await device.open(transport);
    // The SDK reconnects by itself while a feature is in use.
    client.onDeviceMethod('ping', (request, response) => response.send(200, 'pong'));
    assert.equal((await invoke(device.id, 'ping', {})).payload, 'pong');
    const back = reconnected(client);

    await drop(device.id);

    await back;
    assert.equal((await invoke(device.id, 'ping', {})).payload, 'pong');
    await client.sendEvent(new Message('back'));
    assert.deepEqual((await events(device.id)).map((event) => event.body), ['back']);
  });
}
