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
