'use strict';
// Queries over twins: filters, projections, aggregates and pages.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { promisify } = require('node:util');
const { Device, randomId, refused, registry, within } = require('./hub');

/** Registers five devices with a tag that no other test uses. */
async function siteOfFive() {
  const site = randomId();
  for (let number = 0; number < 5; number += 1) {
    const deviceId = `${site}-${number}`;
    await registry.create({ deviceId });
    await registry.updateTwin(deviceId, { tags: { site, floor: number % 2 } }, '*');
  }
  return site;
}

/** Every page of a query, until the SDK says that there are no more. */
async function pages(query, next) {
  const found = [];
  while (query.hasMoreResults) {
    const { result } = await within(next(), 'page');
    found.push(result);
  }
  return found;
}

test('pages of twins follow one another', async () => {
  const site = await siteOfFive();
  const query = registry.createQuery(`SELECT * FROM devices WHERE tags.site = '${site}'`, 2);

  const found = await pages(query, () => query.nextAsTwin());

  assert.deepEqual(
    found.map((page) => page.map((twin) => twin.deviceId.at(-1)).join('')),
    ['01', '23', '4'],
  );
  const [first] = found[0];
  assert.deepEqual(first.tags, { site, floor: 0 });
  assert.equal(first.properties.desired.$version, 1);

  // What a query finds is a twin that can be updated.
  await first.update({ tags: { floor: 7 } });
  const { responseBody } = await registry.getTwin(first.deviceId);
  assert.deepEqual(responseBody.tags, { site, floor: 7 });
});

test('the page size is the hub\'s when none is given', async () => {
  const site = await siteOfFive();
  const query = registry.createQuery(`SELECT * FROM devices WHERE tags.site = '${site}'`);

  const { result } = await query.nextAsTwin();

  assert.equal(result.length, 5);
  assert.equal(query.hasMoreResults, false);
});

test('columns and aggregates are plain objects', async () => {
  const site = await siteOfFive();
  const from = `FROM devices WHERE tags.site = '${site}'`;
  const rows = async (text) => {
    const query = registry.createQuery(text, 100);
    return (await pages(query, () => query.next())).flat();
  };

  assert.deepEqual(await rows(`SELECT COUNT() AS number ${from}`), [{ number: 5 }]);
  assert.deepEqual(
    await rows(`SELECT tags.floor, COUNT() AS n, SUM(tags.floor) AS s ${from} GROUP BY tags.floor`),
    [{ floor: 0, n: 3, s: 0 }, { floor: 1, n: 2, s: 2 }],
  );
  assert.deepEqual(
    await rows(`SELECT deviceId, tags.floor AS story ${from} AND tags.floor = 1`),
    [{ deviceId: `${site}-1`, story: 1 }, { deviceId: `${site}-3`, story: 1 }],
  );
});

test('what a device reports can be asked for', async (t) => {
  const device = await Device.register(t);
  const twin = await (await device.open()).getTwin();
  const update = promisify(twin.properties.reported.update.bind(twin.properties.reported));
  await within(update({ battery: 81.5 }), 'answer to a reported patch');

  const query = registry.createQuery(
    'SELECT * FROM devices WHERE properties.reported.battery > 81'
      + ` AND connectionState = 'Connected' AND deviceId IN ['${device.id}']`,
  );
  const { result } = await query.nextAsTwin();

  assert.deepEqual(result.map((found) => found.deviceId), [device.id]);
});

test('modules are a collection of their own', async (t) => {
  const device = await Device.register(t);
  await registry.addModule({ deviceId: device.id, moduleId: 'm1' });

  const query = registry.createQuery(
    `SELECT * FROM devices.modules WHERE deviceId = '${device.id}'`,
  );
  const { result } = await query.nextAsTwin();

  assert.deepEqual(result.map((twin) => twin.moduleId), ['m1']);
});

test('what cannot be read is refused', async () => {
  for (const text of [
    'SELECT * FROM devices WHERE',
    'SELECT * FROM nowhere',
    'SELECT * FROM devices ORDER BY deviceId',
  ]) {
    await assert.rejects(registry.createQuery(text).nextAsTwin(), refused('ArgumentError'));
  }
});
