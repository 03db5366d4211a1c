// Telemetry of real devices, live and from a position.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';

const emulator = useEmulator();
const browser = useBrowser();

const rows = (page) => page.getByRole('row');

test('a message is there as soon as it is sent, with all that came with it', async (t) => {
  const device = await connectDevice(t, emulator, 'oven-1');
  const page = await browser.open(t, emulator, { route: '#/telemetry' });
  await page.getByText(/^Live/).waitFor();

  await device.send({ temperature: 180.5 }, { alert: 'yes & no' }, { messageId: 'm-1', correlationId: 'c-1' });

  const row = rows(page).filter({ hasText: '180.5' }).first();
  await row.click();
  const detail = page.getByRole('region', { name: 'Event' });
  for (const text of ['oven-1', '180.5']) await detail.getByText(text).first().waitFor();
  await axe(page);
  await detail.getByRole('tab', { name: 'Properties' }).click();
  for (const text of ['alert', 'yes & no', 'm-1', 'c-1', 'application/json']) {
    await detail.getByText(text).first().waitFor();
  }
  await axe(page);
});

test('one device and one word are picked out', async (t) => {
  const [first, second] = [await connectDevice(t, emulator, 'pick-1'), await connectDevice(t, emulator, 'pick-2')];
  await first.send({ word: 'apple' });
  await first.send({ word: 'pear' });
  await second.send({ word: 'apple' });
  const page = await browser.open(t, emulator, { route: '#/telemetry' });

  await page.getByLabel('Device', { exact: true }).fill('pick-1');
  await page.keyboard.press('Enter');
  await rows(page).filter({ hasText: 'pear' }).first().waitFor();
  await page.getByLabel('Text', { exact: true }).fill('apple');

  await page.getByText(/1 shown of 2/).waitFor();
  assert.equal(await rows(page).filter({ hasText: 'pick-2' }).count(), 0);
  assert.equal(await rows(page).filter({ hasText: 'apple' }).count(), 1);
});

test('raw bytes are shown as bytes', async (t) => {
  const device = await connectDevice(t, emulator, 'raw-1');
  await device.send(Buffer.from([0x00, 0xff, 0x10, 0xfe]));
  const page = await browser.open(t, emulator, { route: '#/telemetry?device=raw-1' });

  await rows(page).filter({ hasText: '00 ff 10 fe' }).first().click();

  await page.getByRole('region', { name: 'Event' }).getByText(/00 ff 10 fe/).first().waitFor();
});

test('it stands still when told so, and goes on where it stopped', async (t) => {
  const device = await connectDevice(t, emulator, 'pause-1');
  const page = await browser.open(t, emulator, { route: '#/telemetry?device=pause-1' });
  await page.getByText(/^Live/).waitFor();
  await device.send({ step: 'first' });
  await rows(page).filter({ hasText: 'first' }).first().waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByText(/^Paused/).waitFor();

  await device.send({ step: 'meanwhile' });
  await device.send({ step: 'later' });
  assert.equal(await rows(page).filter({ hasText: 'meanwhile' }).count(), 0);
  await page.getByRole('button', { name: 'Resume' }).click();

  for (const step of ['meanwhile', 'later']) {
    await rows(page).filter({ hasText: step }).first().waitFor();
  }
});

test('what is shown is exported as JSON lines', async (t) => {
  const device = await connectDevice(t, emulator, 'export-1');
  for (let number = 0; number < 3; number += 1) await device.send({ number });
  const page = await browser.open(t, emulator, { route: '#/telemetry?device=export-1&from=earliest' });
  await page.getByText(/3 shown/).waitFor();

  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Export shown' }).click(),
  ]);

  const events = (await readFile(await download.path(), 'utf8')).trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(events.map((event) => JSON.parse(event.body).number), [0, 1, 2]);
});

test('numbers in the body make a chart', async (t) => {
  const device = await connectDevice(t, emulator, 'chart-1');
  for (const value of [20, 21.5, 19]) await device.send({ inside: { t: value } });
  const page = await browser.open(t, emulator, { route: '#/telemetry?device=chart-1&from=earliest', screen: SCREENS.dark });

  await page.getByLabel('Chart of JSON path').fill('inside.t');

  await page.getByRole('region', { name: 'Chart' }).waitFor();
  await axe(page);
});

test('events are read from the beginning, from a time, from a cursor, and in parts', async (t) => {
  const device = await connectDevice(t, emulator, 'position-1');
  for (let number = 0; number < 1010; number += 10) {
    await Promise.all(Array.from({ length: 10 }, (_, index) => device.send({ number: number + index })));
  }
  const page = await browser.open(t, emulator, { route: '#/telemetry?device=position-1' });
  const from = page.getByLabel('From', { exact: true });

  await from.selectOption('earliest');
  await page.getByText('There is more after these.').waitFor();
  await rows(page).filter({ hasText: '"number":999' }).first().waitFor();
  await page.getByRole('button', { name: 'Next 1,000' }).click();
  await page.getByText(/^Live · 1,010 shown/).waitFor();

  await rows(page).filter({ hasText: '"number":1008' }).first().click();
  const detail = page.getByRole('region', { name: 'Event' });
  await detail.getByText(/sequence number .*, offset \d+/).waitFor();
  const cursor = await detail.locator('dd code').last().textContent();
  const time = await detail.locator('dd time').first().getAttribute('datetime');
  await from.selectOption('cursor');
  await page.getByLabel('Time or cursor').fill(cursor);
  await page.keyboard.press('Enter');
  await page.getByText(/^Live · 1 shown/).waitFor();
  await from.selectOption('time');
  await page.getByLabel('Time or cursor').fill(time);
  await page.keyboard.press('Enter');
  await rows(page).filter({ hasText: '"number":1008' }).first().waitFor();
  assert.equal(await rows(page).filter({ hasText: '"number":100,' }).count(), 0);

  await from.selectOption('latest');
  await page.getByText(/^Live · 0 shown/).waitFor();
  await device.send({ number: 'new' });
  await page.getByText(/^Live · 1 shown/).waitFor();
});

test('a position that is none is told', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/telemetry', allow: [/status of 400/] });

  await page.getByLabel('From', { exact: true }).selectOption('cursor');
  await page.getByLabel('Time or cursor').fill('yesterday');
  await page.keyboard.press('Enter');

  await page.getByRole('alert').waitFor();
});
