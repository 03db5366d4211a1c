'use strict';
// Identity registry through the service SDK.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Registry, SharedAccessSignature } = require('azure-iothub');
const {
  Device, hostName, policyKey, randomId, refused, registry, registryAs,
} = require('./hub');

test('a device is created, read, updated and deleted', async () => {
  const deviceId = randomId();

  const { responseBody: created } = await registry.create({ deviceId });
  assert.equal(created.deviceId, deviceId);
  assert.equal(created.status, 'enabled');
  assert.equal(Buffer.from(created.authentication.symmetricKey.primaryKey, 'base64').length, 32);

  const { responseBody: updated } = await registry.update({
    deviceId,
    status: 'disabled',
    statusReason: 'maintenance',
    authentication: created.authentication,
  });
  assert.equal(updated.status, 'disabled');
  assert.equal(updated.statusReason, 'maintenance');
  assert.notEqual(updated.etag, created.etag);

  const { responseBody: read } = await registry.get(deviceId);
  assert.equal(read.generationId, created.generationId);
  assert.deepEqual(read.authentication, created.authentication);
  const { responseBody: listed } = await registry.list();
  assert.ok(listed.some((device) => device.deviceId === deviceId));

  await registry.delete(deviceId);
  await assert.rejects(registry.get(deviceId), refused('DeviceNotFoundError'));
  await assert.rejects(registry.delete(deviceId), refused('DeviceNotFoundError'));
});

test('creating a device twice is a conflict', async (t) => {
  const device = await Device.register(t);

  await assert.rejects(
    registry.create({ deviceId: device.id }),
    refused('DeviceAlreadyExistsError'),
  );
});

test('an id outside the grammar is refused', async () => {
  await assert.rejects(registry.create({ deviceId: 'no spaces' }), refused('ArgumentError'));
});

test('a module is created, read, updated and deleted', async (t) => {
  const device = await Device.register(t);

  await registry.addModule({ deviceId: device.id, moduleId: 'm1', managedBy: 'owner' });
  const { responseBody: created } = await registry.getModule(device.id, 'm1');
  assert.equal(created.managedBy, 'owner');

  await registry.updateModule({ ...created, managedBy: 'someone' });
  await assert.rejects(
    registry.updateModule({ ...created, managedBy: 'late' }),
    refused('InvalidEtagError'),
  );
  const { responseBody: modules } = await registry.getModulesOnDevice(device.id);
  assert.deepEqual(
    modules.map((module) => [module.moduleId, module.managedBy]),
    [['m1', 'someone']],
  );

  await registry.removeModule(device.id, 'm1');
  const { responseBody: left } = await registry.getModulesOnDevice(device.id);
  assert.deepEqual(left, []);
});

test('bulk reports each refusal and keeps the successes', async (t) => {
  const device = await Device.register(t);
  const fresh = [{ deviceId: randomId() }, { deviceId: randomId() }];

  const { responseBody: added } = await registry.addDevices(fresh);
  assert.equal(added.isSuccessful, true);
  assert.deepEqual(added.errors, []);

  const { responseBody: updated } = await registry.updateDevices(
    fresh.map((entry) => ({ ...entry, status: 'disabled' })), true,
  );
  assert.equal(updated.isSuccessful, true);
  const { responseBody: read } = await registry.get(fresh[0].deviceId);
  assert.equal(read.status, 'disabled');

  await assert.rejects(
    registry.addDevices([{ deviceId: device.id }]),
    (error) => {
      const result = JSON.parse(error.responseBody);
      assert.equal(error.name, 'ArgumentError');
      assert.equal(result.isSuccessful, false);
      assert.equal(result.errors[0].deviceId, device.id);
      assert.equal(Number(result.errors[0].errorCode), 409001);
      return true;
    },
  );

  const { responseBody: removed } = await registry.removeDevices(fresh, true);
  assert.equal(removed.isSuccessful, true);
  await assert.rejects(registry.get(fresh[1].deviceId), refused('DeviceNotFoundError'));
});

test('statistics count the devices', async (t) => {
  await Device.register(t);

  const { responseBody: statistics } = await registry.getRegistryStatistics();

  assert.ok(statistics.totalDeviceCount >= 1);
  assert.equal(
    statistics.totalDeviceCount,
    statistics.enabledDeviceCount + statistics.disabledDeviceCount,
  );
});

test('a policy key permits its own operations only', async (t) => {
  const device = await Device.register(t);

  await registryAs('registryRead').get(device.id);
  await registryAs('service').getTwin(device.id);

  await assert.rejects(registryAs('registryRead').delete(device.id), refused('UnauthorizedError'));
  await assert.rejects(registryAs('registryRead').getTwin(device.id), refused('UnauthorizedError'));
  await assert.rejects(registryAs('service').get(device.id), refused('UnauthorizedError'));
  await assert.rejects(registryAs('device').get(device.id), refused('UnauthorizedError'));
});

test('a shared access signature is good until it expires', async (t) => {
  const device = await Device.register(t);
  const signed = (seconds) => Registry.fromSharedAccessSignature(
    SharedAccessSignature.create(
      hostName, 'iothubowner', policyKey('iothubowner'), Math.floor(Date.now() / 1000) + seconds,
    ).toString(),
  );

  await signed(3600).get(device.id);

  await assert.rejects(signed(-3600).get(device.id), refused('UnauthorizedError'));
});
