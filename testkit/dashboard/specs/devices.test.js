// Devices: found and changed, one or many, with mouse and keyboard, while devices come and go.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';
import { until } from '../lib/wait.js';

const emulator = useEmulator();
const browser = useBrowser();
const route = '#/devices';

before(async () => {
  // The runner begins a file's hooks one beside the other.
  await until(() => emulator.ca, 'the emulator is there');
  await emulator.registerMany(300, 'sensor-', (n) => ({ tags: { floor: n % 3 } }));
});

const rows = (page) => page.getByRole('row').filter({ has: page.locator('a[href^="#/device"]') });
const row = (page, id) => rows(page).filter({ has: page.getByRole('link', { name: id, exact: true }) });
const button = (page, name) => page.getByRole('button', { name, exact: true });
const select = (page, id) => page.getByRole('checkbox', { name: `Select ${id}`, exact: true });

/** The page with only the devices that have this in their names. */
async function opened(t, filter, options = {}) {
  const where = filter ? `${route}?filter=${encodeURIComponent(filter)}` : route;
  const page = await browser.open(t, emulator, { route: where, ...options });
  await rows(page).first().waitFor();
  return page;
}

async function statusOf(id) {
  return (await emulator.hub('GET', `/devices/${id}`)).status;
}

async function exists(id) {
  return emulator.hub('GET', `/devices/${id}`).then(() => true, () => false);
}

test('a filter finds a part of an id as it is typed, and a row leads to its device', async (t) => {
  const page = await opened(t);
  await page.getByLabel('Filter').fill('sensor-12');

  await page.getByText(/^10 devices/).waitFor();
  await row(page, 'sensor-127').click();

  await page.waitForURL(/#\/device\?id=sensor-127/);
  await page.getByRole('heading', { level: 1, name: 'sensor-127' }).waitFor();
});

test('a query lists devices, and rows of other columns', async (t) => {
  const page = await opened(t);
  await button(page, 'Query').click();
  const query = page.getByRole('textbox', { name: 'Query' });

  await query.fill("SELECT * FROM devices WHERE tags.floor = 1 AND STARTSWITH(deviceId, 'sensor-')");
  await query.press('Enter');
  await page.getByText(/^100 devices/).waitFor();
  await axe(page);

  await query.fill('SELECT tags.floor AS floor, COUNT() AS many FROM devices GROUP BY tags.floor');
  await button(page, 'Ask').click();
  await page.getByRole('columnheader', { name: 'many' }).waitFor();
  await page.getByRole('gridcell', { name: '100' }).first().waitFor();
  await axe(page);
});

test('what is wrong in a query is shown where it is', async (t) => {
  const page = await opened(t, '', { allow: [/status of 400/] });
  await button(page, 'Query').click();
  const query = page.getByRole('textbox', { name: 'Query' });

  await query.fill("SELECT * FROM devices\n WHERE tags.floor == 1");
  await query.press('Enter');

  const told = page.getByRole('alert').filter({ hasText: 'Position' });
  const [line, pointer] = (await told.textContent()).split('\n');
  assert.equal(line, ' WHERE tags.floor == 1');
  assert.equal(line[pointer.indexOf('^')], '=');
  assert.equal(await query.getAttribute('aria-invalid'), 'true');
  await axe(page);
});

test('an example of a query can be chosen', async (t) => {
  const page = await opened(t);
  await button(page, 'Query').click();

  await page.getByLabel('Examples').selectOption({ label: 'How many of each status' });

  await page.getByRole('columnheader', { name: 'status' }).waitFor();
});

test('a device is added, and its connection string is there to copy', async (t) => {
  const page = await opened(t);
  await button(page, 'Add device…').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Device id').fill('added-1');
  await dialog.getByLabel('Disabled').check();
  await axe(page);
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();

  await page.getByText('added-1 has been added').waitFor();
  await page.getByRole('button', { name: 'Copy connection string' }).click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  const { authentication, status } = await emulator.hub('GET', '/devices/added-1');
  assert.equal(status, 'disabled');
  assert.ok(copied.endsWith(`DeviceId=added-1;SharedAccessKey=${authentication.symmetricKey.primaryKey}`));

  await page.getByRole('button', { name: 'Close' }).last().click();
  await page.getByLabel('Filter').fill('added-1');
  await row(page, 'added-1').waitFor();
});

test('a device with a certificate of its own gets one, and its key', async (t) => {
  const page = await opened(t);
  await button(page, 'Add device…').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Device id').fill('leaf-1');
  await dialog.getByLabel('Authentication').selectOption('selfSigned');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();

  const files = [];
  for (const name of ['Download certificate', 'Download private key']) {
    const [file] = await Promise.all([page.waitForEvent('download'), button(page, name).click()]);
    files.push(file.suggestedFilename());
  }
  assert.deepEqual(files, ['leaf-1.cert.pem', 'leaf-1.key.pem']);
  const { authentication } = await emulator.hub('GET', '/devices/leaf-1');
  assert.equal(authentication.type, 'selfSigned');
  assert.match(authentication.x509Thumbprint.primaryThumbprint, /^[0-9A-Fa-f]{64}$/);
});

test('an id that is taken is told in the dialog', async (t) => {
  const page = await opened(t, '', { allow: [/status of 409/] });
  await button(page, 'Add device…').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Device id').fill('sensor-001');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();

  await dialog.getByRole('alert').filter({ hasText: 'sensor-001' }).waitFor();
});

test('a clone has the desired properties and tags, and keys of its own', async (t) => {
  await emulator.register('model-1');
  await emulator.hub('PATCH', '/twins/model-1', {
    tags: { site: 'north' }, properties: { desired: { interval: 7 } },
  });
  const page = await opened(t, 'model-1');
  await button(page, 'Clone model-1').click();
  await page.getByLabel('Device id').fill('model-2');
  await page.getByRole('button', { name: 'Clone', exact: true }).click();
  await page.getByText('model-2 has been added').waitFor();

  const twin = await emulator.hub('GET', '/twins/model-2');
  const [one, two] = await Promise.all(['model-1', 'model-2'].map((id) => emulator.hub('GET', `/devices/${id}`)));
  assert.equal(twin.tags.site, 'north');
  assert.equal(twin.properties.desired.interval, 7);
  assert.notEqual(one.authentication.symmetricKey.primaryKey, two.authentication.symmetricKey.primaryKey);
});

test('many devices are added by a pattern, disabled, enabled and deleted', async (t) => {
  const page = await opened(t);
  await button(page, 'Add many…').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Pattern of ids').fill('bulk-{n:3}-x');
  await dialog.getByLabel('How many').fill('120');
  await dialog.getByText('bulk-001-x … bulk-120-x').waitFor();
  await axe(page);
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
  const before = await emulator.hub('GET', '/devices/bulk-120-x');

  await page.getByLabel('Filter').fill('bulk-');
  await page.getByText(/^120 devices/).waitFor();
  await page.getByLabel('Select all that is listed').check();
  await page.getByText('120 selected').waitFor();
  await button(page, 'Disable').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
  await until(async () => await statusOf('bulk-120-x') === 'disabled', 'the last is disabled');
  const after = await emulator.hub('GET', '/devices/bulk-120-x');
  assert.deepEqual(after.authentication, before.authentication, 'keys stay');

  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await button(page, 'Delete').click();
  const sure = page.getByRole('dialog');
  await sure.getByLabel('Type 120 to go on').fill('120');
  await axe(page);
  await sure.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.getByText(/^0 devices/).waitFor();
  assert.equal(await exists('bulk-001-x'), false);
});

test('a row gives its connection string', async (t) => {
  const page = await opened(t, 'sensor-00');
  const { primaryKey } = (await emulator.hub('GET', '/devices/sensor-001')).authentication.symmetricKey;

  await page.getByRole('button', { name: 'Copy the connection string of sensor-001' }).click();

  const string = `HostName=${emulator.ready.hostname};DeviceId=sensor-001;SharedAccessKey=${primaryKey}`;
  await until(async () => (await page.evaluate(() => navigator.clipboard.readText())) === string, 'it is copied');
});

test('a range is selected with the shift key', async (t) => {
  const page = await opened(t, 'sensor-20');
  await select(page, 'sensor-202').click();
  await select(page, 'sensor-205').click({ modifiers: ['Shift'] });

  await page.getByText('4 selected').waitFor();
  await select(page, 'sensor-203').click();
  await page.getByText('3 selected').waitFor();
  await button(page, 'Copy connection strings').click();
  const copied = await until(async () => {
    const text = await page.evaluate(() => navigator.clipboard.readText());
    return text.split('\n').length === 3 && text;
  }, 'three connection strings are copied');
  assert.match(copied, /DeviceId=sensor-202;.*\n.*DeviceId=sensor-204;.*\n.*DeviceId=sensor-205;/);
});

test('who connects and goes is seen at once', async (t) => {
  await emulator.register('live-1');
  const page = await opened(t, 'live-1');
  await row(page, 'live-1').getByText('offline').waitFor();

  const device = await connectDevice(t, emulator, 'live-1');
  await row(page, 'live-1').getByText('mqtt').waitFor();

  await device.close();
  await row(page, 'live-1').getByText('offline').waitFor();
});

test('devices that come and go meanwhile are listed', async (t) => {
  await emulator.register('come-1');
  const page = await opened(t, 'come-');

  await emulator.register('come-2');
  await row(page, 'come-2').waitFor();
  await emulator.hub('DELETE', '/devices/come-1', undefined, { 'If-Match': '*' });
  await row(page, 'come-1').waitFor({ state: 'detached' });
});

test('the keyboard alone is enough', async (t) => {
  for (const n of [1, 2, 3]) await emulator.register(`key-${n}`);
  const page = await opened(t);
  await page.getByLabel('Filter').focus();
  await page.keyboard.type('key-');
  await page.getByText(/^3 devices/).waitFor();

  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Space');
  await page.getByText('1 selected').waitFor();
  await page.keyboard.press('Delete');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.equal(await exists('key-2'), true);

  await page.getByRole('grid', { name: 'Devices' }).focus();
  await page.keyboard.press('Control+a');
  await page.getByText('3 selected').waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { level: 1, name: 'key-3' }).waitFor();
});

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`the page is good on the screen ${name}, with a selection and a query, too`, async (t) => {
    const page = await opened(t, 'sensor-10', { screen });
    await select(page, 'sensor-100').click();
    await page.getByText('1 selected').waitFor();
    await button(page, 'Query').click();

    await axe(page);
    const { wide, room } = await page.evaluate(() => ({
      wide: document.scrollingElement.scrollWidth, room: document.documentElement.clientWidth,
    }));
    assert.ok(wide <= room, `${wide} px wide on a screen of ${room}`);
  });
}
