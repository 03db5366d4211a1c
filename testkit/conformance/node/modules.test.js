'use strict';
// Modules as an edge knows them, and devices that have an edge above them.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Message, ModuleClient } = require('azure-iot-device');
const { Amqp } = require('azure-iot-device-amqp');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Device, caFile, events, hostName, invoke, randomId, registry } = require('./hub');

/** The identity of an edge device that is gone when the test `t` ends. */
async function edge(t, properties = {}) {
  const { responseBody } = await registry.create({
    deviceId: randomId(), capabilities: { iotEdge: true }, ...properties,
  });
  t.after(() => registry.delete(responseBody.deviceId));
  return responseBody;
}

test('a device and an edge have an edge above them', async (t) => {
  const { deviceScope } = await edge(t);
  assert.match(deviceScope, /^ms-azure-iot-edge:/);

  const { responseBody: child } = await registry.create({ deviceId: randomId(), deviceScope });
  const below = await edge(t, { parentScopes: [deviceScope] });

  assert.deepEqual(child.parentScopes, [deviceScope]);
  assert.deepEqual(below.parentScopes, [deviceScope]);
  assert.notEqual(below.deviceScope, deviceScope);
  const { responseBody: twin } = await registry.getTwin(child.deviceId);
  assert.equal(twin.deviceScope, deviceScope);
});

for (const transport of [Mqtt, Amqp]) {
  test(`a module finds the hub by its environment over ${transport.name}`, async (t) => {
    const { deviceId } = await edge(t);
    await registry.addModule({ deviceId, moduleId: 'sensor', managedBy: 'IotEdge' });
    const { responseBody: module } = await registry.getModule(deviceId, 'sensor');
    const key = module.authentication.symmetricKey.primaryKey;
    // As the tools for developers of edge modules set it; the emulator is hub and gateway in one.
    process.env.EdgeHubConnectionString = `HostName=${hostName};GatewayHostName=${hostName};`
      + `DeviceId=${deviceId};ModuleId=sensor;SharedAccessKey=${key}`;
    process.env.EdgeModuleCACertificateFile = caFile;
    t.after(() => {
      delete process.env.EdgeHubConnectionString;
      delete process.env.EdgeModuleCACertificateFile;
    });

    const client = await ModuleClient.fromEnvironment(transport);
    await client.open();
    await client.sendOutputEvent('out1', new Message('sensed'));
    await client.close();

    const [event] = await events(deviceId);
    assert.equal(event.body, 'sensed');
    assert.equal(event.annotations['iothub-connection-module-id'], 'sensor');
  });
}

// Only an edge runtime sends to inputs: the hub takes the subscription, and that is all.
for (const transport of [Mqtt, Amqp]) {
  test(`a module listens to an input and works on over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const module = await device.openModule('m1', transport);
    module.on('inputMessage', () => {});
    module.onMethod('echo', (request, response) => response.send(200, request.payload));

    assert.equal((await invoke(`${device.id}/m1`, 'echo', 7)).payload, 7);
  });
}

// The hub takes calls from back ends alone; modules may call where an edge runtime stands between.
test('a module may not call', async (t) => {
  const device = await Device.register(t);
  await device.openModule('m2');
  await registry.addModule({ deviceId: device.id, moduleId: 'm1' });
  const { responseBody: { authentication } } = await registry.getModule(device.id, 'm1');
  // The SDK sends calls to a gateway, whether there is one or not.
  const module = device.keep(ModuleClient.fromConnectionString(
    `HostName=${hostName};GatewayHostName=${hostName};DeviceId=${device.id};ModuleId=m1;`
      + `SharedAccessKey=${authentication.symmetricKey.primaryKey}`,
    Mqtt,
  ));
  await module.open();
  const params = { methodName: 'echo', payload: 'x', responseTimeoutInSeconds: 10 };

  await assert.rejects(module.invokeMethod(device.id, params), { name: 'UnauthorizedError' });
  await assert.rejects(module.invokeMethod(device.id, 'm2', params), { name: 'UnauthorizedError' });
});
