'use strict';
// Plug and Play: a device with a model, its digital twin, and commands on its components.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { DigitalTwinClient, IoTHubTokenCredentials } = require('azure-iothub');
const { Device, LIMIT, connectionString, registry } = require('./hub');

const MODEL = 'dtmi:com:example:TemperatureController;2';
const digitalTwins = new DigitalTwinClient(
  new IoTHubTokenCredentials(connectionString('service')),
);
const limits = { connectTimeoutInSeconds: LIMIT, responseTimeoutInSeconds: LIMIT };

async function openWithModel(device) {
  const client = device.client();
  await client.setOptions({ modelId: MODEL });
  await client.open();
  return client;
}

/** The response of a call: the headers are only in what the SDK hands to a callback. */
function responseOf(call) {
  return new Promise((resolve, reject) => {
    call((error, _result, response) => (error ? reject(error) : resolve(response)));
  });
}

test('the model is seen in both twins', async (t) => {
  const device = await Device.register(t);
  await openWithModel(device);

  const { responseBody: twin } = await registry.getTwin(device.id);
  assert.equal(twin.modelId, MODEL);
  const digitalTwin = await digitalTwins.getDigitalTwin(device.id);
  assert.equal(digitalTwin.$dtId, device.id);
  assert.equal(digitalTwin.$metadata.$model, MODEL);
  const response = await responseOf((done) => digitalTwins.getDigitalTwin(device.id, done));
  assert.equal(response.headers.get('etag'), `"${twin.etag}"`);
});

test('a patch is a change of desired properties', async (t) => {
  const device = await Device.register(t);
  const patch = [{ op: 'add', path: '/thermostat1/targetTemperature', value: 42 }];

  const { status, headers } = await responseOf(
    (done) => digitalTwins.updateDigitalTwin(device.id, patch, done),
  );

  assert.equal(status, 202);
  assert.match(headers.get('location'), /^https:.*\/digitaltwins\//);
  const { responseBody: twin } = await registry.getTwin(device.id);
  assert.deepEqual(
    twin.properties.desired.thermostat1,
    { __t: 'c', targetTemperature: 42 },
  );
  assert.equal(headers.get('etag'), `"${twin.etag}"`);
  await assert.rejects(
    digitalTwins.updateDigitalTwin(device.id, patch, '"stale"'),
    { statusCode: 412 },
  );
});

test('commands carry the status of the device', async (t) => {
  const device = await Device.register(t);
  const client = await openWithModel(device);
  for (const name of ['reboot', 'thermostat1*getMaxMinReport']) {
    client.onDeviceMethod(name, (request, response) => {
      response.send(404, { name, asked: request.payload }, () => {});
    });
  }

  const root = await digitalTwins.invokeCommand(device.id, 'reboot', 5, limits);
  const component = await digitalTwins.invokeComponentCommand(
    device.id, 'thermostat1', 'getMaxMinReport', { since: 'now' }, limits,
  );

  assert.equal(root.xMsCommandStatuscode, 404);
  assert.deepEqual(root.body, { name: 'reboot', asked: 5 });
  assert.equal(component.xMsCommandStatuscode, 404);
  assert.deepEqual(component.body.asked, { since: 'now' });
});

test('a command for a device that is not there is refused', async (t) => {
  const device = await Device.register(t);

  await assert.rejects(digitalTwins.invokeCommand(device.id, 'reboot', 1), { statusCode: 404 });
});
