'use strict';
// Who may connect, and what happens to a connection while it lives.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Client, Message, SharedAccessSignature } = require('azure-iot-device');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const {
  Device, TRANSPORTS, connections, disconnected, drop, emulatorTime, events, hostName,
  invoke, randomId, reconnected, refused, registry, sendC2d, within,
} = require('./hub');

const unauthorized = refused('UnauthorizedError');

/** A client that the hub knows of: over AMQP it does so from the first link on. */
async function present(device, transport) {
  const client = await device.open(transport);
  await client.sendEvent(new Message('here'));
  return client;
}

/** A device's own signature that ends after so many seconds of the emulator's time. */
async function signature(device, seconds) {
  const expiry = Math.floor((await emulatorTime()) / 1000) + seconds;
  return SharedAccessSignature.create(hostName, device.id, device.key, expiry).toString();
}

for (const transport of TRANSPORTS) {
  test(`a wrong key is refused over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    device.key = Buffer.alloc(32, 'x').toString('base64');

    await assert.rejects(device.open(transport), unauthorized);
  });

  test(`the registry shows who is connected over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    assert.equal((await registry.get(device.id)).responseBody.connectionState, 'Disconnected');

    await present(device, transport);

    assert.equal((await registry.get(device.id)).responseBody.connectionState, 'Connected');
    assert.equal((await connections(device.id)).length, 1);
  });
}

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

for (const transport of [Amqp, AmqpWs]) {
  test(`a dropped device is told and comes back when it sends over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const client = await present(device, transport);
    const gone = disconnected(client);

    await drop(device.id);

    await gone;
    await client.sendEvent(new Message('back'));
    assert.deepEqual((await events(device.id)).map((event) => event.body), ['here', 'back']);
  });
}

for (const transport of [Mqtt, Amqp]) {
  test(`the secondary key is as good as the primary over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    device.key = device.secondaryKey;

    await device.open(transport);
  });

  test(`an expired token is refused over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const connect = async (seconds) => {
      const token = await signature(device, seconds);
      return device.keep(Client.fromSharedAccessSignature(token, transport)).open();
    };

    await connect(3600);

    await assert.rejects(connect(-3600), unauthorized);
  });

  test(`a token is renewed over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const client = device.keep(
      Client.fromSharedAccessSignature(await signature(device, 60), transport));
    await client.open();
    await client.sendEvent(new Message('before'));

    await new Promise((resolve, reject) => {
      signature(device, 3600).then((token) => client.updateSharedAccessSignature(
        token, (error) => (error ? reject(error) : resolve())));
    });

    await client.sendEvent(new Message('after'));
    assert.deepEqual((await events(device.id)).map((event) => event.body), ['before', 'after']);
  });

  test(`an unknown device is refused over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    device.id = randomId();

    await assert.rejects(device.open(transport), unauthorized);
  });

  test(`a disabled device is disconnected and refused over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const gone = disconnected(await present(device, transport));

    const { responseBody: identity } = await registry.get(device.id);
    await registry.update({
      deviceId: device.id, status: 'disabled', authentication: identity.authentication,
    });

    await gone;
    await assert.rejects(device.open(transport), unauthorized);
  });

  test(`a deleted device is disconnected and refused over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const gone = disconnected(await present(device, transport));

    await registry.delete(device.id);

    await gone;
    await assert.rejects(device.open(transport), unauthorized);
  });

  test(`a second client takes the connection over by ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const gone = disconnected(await present(device, transport));

    const second = await present(device, transport);

    await gone;
    await second.sendEvent(new Message('from the second'));
    const bodies = (await events(device.id)).map((event) => event.body);
    assert.deepEqual(bodies, ['here', 'here', 'from the second']);
    assert.equal((await connections(device.id)).length, 1);
  });
}

test('one process has several devices over Amqp', async (t) => {
  const devices = await Promise.all([1, 2, 3].map(() => Device.register(t)));
  const clients = await Promise.all(devices.map((device) => device.open(Amqp)));

  const arrivals = clients.map(
    (client) =>
      new Promise((resolve) => {
        client.on('message', (message) => client.complete(message, () => resolve(message)));
      }),
  );
  await Promise.all(clients.map((client, n) => client.sendEvent(new Message(`from ${n}`))));
  await Promise.all(devices.map((device, n) => sendC2d(device.id, `to ${n}`)));

  for (const [n, device] of devices.entries()) {
    const message = await within(arrivals[n], 'message');
    assert.equal(message.data.toString(), `to ${n}`);
    assert.deepEqual((await events(device.id)).map((event) => event.body), [`from ${n}`]);
  }
});
