// The overview: how to reach the hub, and what goes on.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';
import { until } from '../lib/wait.js';

const emulator = useEmulator();
const browser = useBrowser();

const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());

test('each connection string is copied as it is', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/overview' });
  const strings = emulator.ready.connection_strings;

  for (const policy of ['iothubowner', 'service', 'device', 'registryRead', 'registryReadWrite']) {
    await page.getByRole('button', { name: `Copy connection string of ${policy}`, exact: true }).click();
    await until(async () => (await clipboard(page)) === strings[policy], `${policy} is copied`);
  }
});

test('keys are hidden until one asks', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/overview' });
  const string = emulator.ready.connection_strings.iothubowner;
  await page.getByText('Connection strings').first().waitFor();

  assert.equal(await page.getByText(string, { exact: true }).count(), 0);
});

test('there is a program for every SDK, with this hub in it', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/overview' });
  const tabs = page.getByRole('tablist', { name: 'SDK' }).getByRole('tab');
  await tabs.first().waitFor();
  const names = await tabs.allTextContents();

  for (const wanted of ['Python', 'Node', 'C#', 'Java', 'C', 'Rust', 'az']) {
    assert.ok(names.some((name) => name.startsWith(wanted)), `${wanted} of ${names}`);
  }
  const programs = new Set();
  for (let index = 0; index < names.length; index += 1) {
    await tabs.nth(index).click();
    await page.locator('.setup pre, .program pre').first().waitFor();
    programs.add((await page.locator('.setup pre, .program pre').allTextContents()).join('\n'));
  }
  assert.equal(programs.size, names.length, 'each has its own');
  await axe(page);
});

test('the authority can be taken along', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/overview' });

  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download CA' }).click(),
  ]);

  assert.equal((await readFile(await download.path(), 'utf8')).trim(), emulator.ca.trim());
});

test('what a device does is seen while it happens', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/overview' });
  const device = await connectDevice(t, emulator, 'lively-1');
  const tile = page.locator('.figure-tile', { hasText: 'messages so far' });
  await tile.waitFor();
  const before = Number(await tile.locator('.figure').textContent());

  for (let number = 0; number < 20; number += 1) await device.send({ number });

  await until(
    async () => Number(await tile.locator('.figure').textContent()) === before + 20,
    'the messages are counted',
  );
  await page.getByRole('cell', { name: 'sendTelemetry', exact: true }).waitFor();
  await axe(page);
});

test('four charts tell the rates, each with its unit', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/overview' });
  const device = await connectDevice(t, emulator, 'charted-1');
  device.onMethod('ping', () => [200, null]);
  await until(() => emulator.hub('POST', '/twins/charted-1/methods', { methodName: 'ping' }).catch(() => false), 'it answers');
  for (let number = 0; number < 5; number += 1) await device.send({ number });

  for (const [name, said] of [['Telemetry', /messages\s*[\d.]+\/s/], ['Methods, twins, messages', /methods\s*[\d.]+\/s/],
    ['Connections', /MQTT\s*[1-9]/], ['Latency', /half below\s*[\d.]+ (µs|ms)/]]) {
    const card = page.getByRole('region', { name, exact: true });
    await card.getByText(said).first().or(card.filter({ hasText: said })).first().waitFor();
    await until(() => card.locator('canvas').evaluate((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size > 2;
    }), `${name} is drawn`);
  }
});

test('what was asked for and is not emulated is counted', async (t) => {
  await emulator.hub('GET', '/devices/d1/nothingOfTheKind').catch(() => {});
  const page = await browser.open(t, emulator, { route: '#/overview' });

  await page.getByRole('group', { name: 'What was asked for' })
    .getByRole('row').filter({ hasText: 'nothingOfTheKind' }).getByRole('cell', { name: '1', exact: true }).waitFor();
});

test('a program has the strings of the device and of the policy that one chose', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/overview', allow: [/status of 404/] });
  const program = page.locator('.program pre');
  await program.waitFor();

  await page.getByLabel('Device', { exact: true }).fill('made-here');
  await page.keyboard.press('Tab');
  await page.getByRole('button', { name: 'Register it' }).click();
  const { primaryKey } = (await until(() => emulator.hub('GET', '/devices/made-here').catch(() => null), 'it is registered'))
    .authentication.symmetricKey;
  await program.getByText(`DeviceId=made-here;SharedAccessKey=${primaryKey}`).waitFor();
  await page.getByLabel('Side').selectOption('service');
  await page.getByLabel('Policy').selectOption('service');
  await page.getByRole('tab', { name: 'Node.js' }).click();
  await program.getByText(emulator.ready.connection_strings.service).waitFor();
  await page.getByRole('button', { name: 'Copy program' }).click();

  await until(async () => (await clipboard(page)) === await program.textContent(), 'the program is copied');
});

test('a reset is asked about, and done', async (t) => {
  await emulator.register('short-lived');
  const page = await browser.open(t, emulator, { route: '#/overview' });

  await page.getByRole('button', { name: 'Reset…' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.waitFor();
  await axe(page);
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  assert.equal((await emulator.hub('GET', '/devices/short-lived')).deviceId, 'short-lived');

  await page.getByRole('button', { name: 'Reset…' }).click();
  await dialog.getByRole('button', { name: 'Reset', exact: true }).click();

  await until(async () => (await emulator.hub('GET', '/devices?top=10')).length === 0, 'it is empty');
});
