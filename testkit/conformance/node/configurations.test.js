'use strict';
// Automatic device management and edge deployments.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Device, randomId, refused, registry } = require('./hub');

const deviceContent = { 'properties.desired.chiller': { temp: 66 } };

/** Adds a configuration that is removed when the test `t` ends. */
async function add(t, configuration) {
  const { responseBody } = await registry.addConfiguration({
    id: randomId(), schemaVersion: '1.0', priority: 1, ...configuration,
  });
  t.after(() => registry.removeConfiguration(responseBody.id).catch(() => {}));
  return responseBody;
}

async function desired(deviceId, moduleId) {
  const { responseBody } = await (moduleId
    ? registry.getModuleTwin(deviceId, moduleId)
    : registry.getTwin(deviceId));
  const { $metadata, $version, ...properties } = responseBody.properties.desired;
  assert.ok($metadata && $version);
  return properties;
}

test('a configuration is read back as it was written', async (t) => {
  const { id, etag } = await add(t, { content: { deviceContent }, targetCondition: '' });

  const { responseBody: read } = await registry.getConfiguration(id);

  assert.deepEqual(read.content, { deviceContent });
  assert.equal(read.etag, etag);
  const { responseBody: all } = await registry.getConfigurations();
  assert.ok(all.some((configuration) => configuration.id === id));
});

test('it is written into the twins that satisfy its condition', async (t) => {
  const device = await Device.register(t);
  const configuration = await add(t, {
    content: { deviceContent }, targetCondition: `tags.site='${device.id}'`,
  });

  await registry.updateTwin(device.id, { tags: { site: device.id } }, '*');
  assert.deepEqual(await desired(device.id), { chiller: { temp: 66 } });

  await registry.updateConfiguration(
    { id: configuration.id, schemaVersion: '1.0', targetCondition: '' }, true,
  );
  assert.deepEqual(await desired(device.id), {});
});

test('the higher priority wins', async (t) => {
  const device = await Device.register(t);
  const targetCondition = `deviceId='${device.id}'`;
  const low = { 'properties.desired': { a: 'low', b: 'low' } };
  await add(t, { content: { deviceContent: low }, targetCondition, priority: 1 });
  const high = { 'properties.desired.a': 'high' };
  const { id } = await add(t, { content: { deviceContent: high }, targetCondition, priority: 9 });
  assert.deepEqual(await desired(device.id), { a: 'high', b: 'low' });

  await registry.removeConfiguration(id);

  assert.deepEqual(await desired(device.id), { a: 'low', b: 'low' });
});

test('what breaks a rule is refused', async (t) => {
  const existing = await add(t, { content: { deviceContent } });

  await assert.rejects(
    registry.addConfiguration({ id: existing.id, schemaVersion: '1.0' }),
    (error) => error.name === 'DeviceAlreadyExistsError',
  );
  for (const bad of [
    { content: { deviceContent: { 'tags.a': 1 } } },
    { targetCondition: 'SELECT * FROM devices' },
    { metrics: { queries: { m: 'nonsense' } } },
  ]) {
    await assert.rejects(
      registry.addConfiguration({ id: randomId(), schemaVersion: '1.0', ...bad }),
      refused('ArgumentError'),
    );
  }
  await assert.rejects(
    registry.updateConfiguration({ ...existing, etag: 'stale', priority: 2 }),
    refused('InvalidEtagError'),
  );
  await assert.rejects(registry.getConfiguration('nobody-at-all'));
});

test('an edge is deployed to, once and for good', async (t) => {
  const deviceId = randomId();
  await registry.create({ deviceId, capabilities: { iotEdge: true } });
  t.after(() => registry.delete(deviceId));
  const modulesContent = {
    $edgeAgent: { 'properties.desired': { schemaVersion: '1.1' } },
    sensor: { 'properties.desired.rate': 5 },
  };

  await registry.applyConfigurationContentOnDevice(deviceId, { modulesContent });
  assert.deepEqual(await desired(deviceId, 'sensor'), { rate: 5 });

  modulesContent.sensor['properties.desired.rate'] = 6;
  await add(t, { content: { modulesContent }, targetCondition: `deviceId='${deviceId}'` });
  assert.deepEqual(await desired(deviceId, 'sensor'), { rate: 6 });
  const { responseBody: modules } = await registry.getModulesOnDevice(deviceId);
  assert.equal(modules.find((module) => module.moduleId === 'sensor').managedBy, 'iotEdge');
});
