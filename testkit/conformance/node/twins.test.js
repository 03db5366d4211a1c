'use strict';
// Twins, written from both ends.

const assert = require('node:assert/strict');
const { EventEmitter, once } = require('node:events');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { Amqp } = require('azure-iot-device-amqp');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Device, TRANSPORTS, refused, registry, within } = require('./hub');

/** The twin as the client sees it, with desired notifications on. */
async function openTwin(client) {
  const twin = await client.getTwin();
  const enable = promisify(twin.enableTwinDesiredPropertiesUpdates.bind(twin));
  await within(enable(), 'subscription to desired properties');
  return twin;
}

/** Resolves with the first desired section or patch that satisfies `predicate`. */
async function desired(twin, predicate) {
  const found = new EventEmitter();
  const listener = (delta) => {
    if (predicate(delta)) found.emit('delta', structuredClone(delta));
  };
  const arrival = once(found, 'delta');
  twin.on('properties.desired', listener);
  const [delta] = await within(arrival, 'desired properties');
  twin.removeListener('properties.desired', listener);
  return delta;
}

function report(twin, patch) {
  const update = promisify(twin.properties.reported.update.bind(twin.properties.reported));
  return within(update(patch), 'answer to a reported patch');
}

function withoutMetadata({ $metadata, ...section }) {
  assert.ok($metadata);
  return section;
}

for (const transport of TRANSPORTS) {
  test(`a desired patch reaches the device over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const twin = await openTwin(await device.open(transport));
    const arrival = desired(twin, (delta) => delta.$version === 2);

    await registry.updateTwin(
      device.id, { properties: { desired: { interval: 30, mode: { fan: 'low' } } } }, '*',
    );

    assert.deepEqual(await arrival, { interval: 30, mode: { fan: 'low' }, $version: 2 });
  });
}

for (const transport of [Mqtt, Amqp]) {
  test(`a null in a desired patch deletes the property over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const before = { a: 1, b: { c: 2, d: 3 } };
    await registry.updateTwin(device.id, { properties: { desired: before } }, '*');
    const twin = await openTwin(await device.open(transport));
    assert.deepEqual(twin.properties.desired, { ...before, $version: 2 });
    const arrival = desired(twin, (delta) => delta.$version === 3 && 'b' in delta);

    await registry.updateTwin(device.id, { properties: { desired: { b: { c: null } } } }, '*');

    await arrival;
    assert.deepEqual(twin.properties.desired, { a: 1, b: { d: 3 }, $version: 3 });
  });
}

for (const transport of TRANSPORTS) {
  test(`reported properties reach the back end over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const twin = await (await device.open(transport)).getTwin();

    await report(twin, { battery: 80, net: { ssid: 'home', rssi: -60.5 } });
    await report(twin, { battery: 79, net: { rssi: null } });

    const { responseBody } = await registry.getTwin(device.id);
    assert.deepEqual(
      withoutMetadata(responseBody.properties.reported),
      { battery: 79, net: { ssid: 'home' }, $version: 3 },
    );
  });
}

test('tags and etags belong to the back end', async (t) => {
  const device = await Device.register(t);
  const { responseBody: before } = await registry.getTwin(device.id);

  const { responseBody: after } = await registry.updateTwin(
    device.id, { tags: { site: { floor: 1 } } }, before.etag,
  );

  assert.deepEqual(after.tags, { site: { floor: 1 } });
  assert.notEqual(after.etag, before.etag);
  await assert.rejects(
    registry.updateTwin(device.id, { tags: { site: null } }, before.etag),
    refused('InvalidEtagError'),
  );
});

for (const transport of [Mqtt, Amqp]) {
  test(`an illegal key is refused from both ends over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const twin = await (await device.open(transport)).getTwin();

    await assert.rejects(
      registry.updateTwin(device.id, { tags: { 'a b': 1 } }, '*'),
      refused('ArgumentError'),
    );
    await assert.rejects(report(twin, { 'a.b': 1 }), refused('Error'));

    await report(twin, { legal: 1 });
    const { responseBody } = await registry.getTwin(device.id);
    assert.deepEqual(withoutMetadata(responseBody.properties.reported), { legal: 1, $version: 2 });
  });

  test(`a module has a twin of its own over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const twin = await openTwin(await device.openModule('m1', transport));
    const arrival = desired(twin, (delta) => delta.$version === 2);

    await registry.updateModuleTwin(device.id, 'm1', { properties: { desired: { rate: 5 } } }, '*');
    await report(twin, { rate: 5 });

    assert.deepEqual(await arrival, { rate: 5, $version: 2 });
    const { responseBody: moduleTwin } = await registry.getModuleTwin(device.id, 'm1');
    assert.equal(moduleTwin.properties.reported.rate, 5);
    const { responseBody: deviceTwin } = await registry.getTwin(device.id);
    assert.equal(deviceTwin.properties.reported.rate, undefined);
  });
}

test('an unknown twin is not found', async () => {
  await assert.rejects(registry.getTwin('nobody-at-all'), refused('DeviceNotFoundError'));
});
