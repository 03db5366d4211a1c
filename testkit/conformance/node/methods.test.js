'use strict';
// Direct methods from the service SDK to the device SDK.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Amqp } = require('azure-iot-device-amqp');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Device, TRANSPORTS, invoke, randomId, refused } = require('./hub');

function answer(client, name, status) {
  const respond = (request, response) => response.send(status, { echo: request.payload });
  if (client.onDeviceMethod) client.onDeviceMethod(name, respond);
  else client.onMethod(name, respond);
}

for (const transport of TRANSPORTS) {
  test(`payload and status travel both ways over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    answer(await device.open(transport), 'echo', 418);

    for (const payload of [{ delay: 5 }, [1, 2], 'text', 7, true]) {
      const result = await invoke(device.id, 'echo', payload);
      assert.deepEqual(result, { status: 418, payload: { echo: payload } });
    }
  });
}

for (const transport of [Mqtt, Amqp]) {
  test(`a response without payload is null over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    (await device.open(transport)).onDeviceMethod('quiet', (request, response) => response.send(204));

    assert.deepEqual(await invoke(device.id, 'quiet', {}), { status: 204, payload: null });
  });
}

test('an offline device is not online', async (t) => {
  const device = await Device.register(t);

  await assert.rejects(
    invoke(device.id, 'echo', {}, { connectTimeoutInSeconds: 0 }),
    refused('Error', 404103),
  );
});

test('an unknown device is not found', async () => {
  await assert.rejects(invoke(randomId(), 'echo', {}), refused('Error', 404001));
});

for (const transport of [Mqtt, Amqp]) {
  test(`a silent device times out over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    let asked = false;
    (await device.open(transport)).onDeviceMethod('ignored', () => { asked = true; });

    await assert.rejects(
      invoke(device.id, 'ignored', {}, { responseTimeoutInSeconds: 5 }),
      refused('GatewayTimeoutError', 504101),
    );
    assert.ok(asked);
  });

  test(`a call waits for the device to connect over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const call = invoke(device.id, 'late', 1);

    answer(await device.open(transport), 'late', 200);

    assert.deepEqual(await call, { status: 200, payload: { echo: 1 } });
  });

  test(`a module answers its own methods over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    answer(await device.open(transport), 'echo', 201);
    answer(await device.openModule('m1', transport), 'echo', 202);

    assert.equal((await invoke(`${device.id}/m1`, 'echo', 1)).status, 202);
    assert.equal((await invoke(device.id, 'echo', 1)).status, 201);
    await assert.rejects(invoke(`${device.id}/nobody`, 'echo', 1), refused('Error', 404010));
  });
}
