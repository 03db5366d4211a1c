// Wire: what goes over a device's connection, decoded, among what the hub makes of it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';
import { until } from '../lib/wait.js';

const emulator = useEmulator();
const browser = useBrowser();

const row = (page, text) => page.locator('.vl-layer .vl-row', { hasText: text }).first();

test('packets and what the hub makes of them are on one timeline', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/wire' });
  await page.getByText(/\d of \d.* lines/).waitFor();

  const device = await connectDevice(t, emulator, 'wire-1');
  await device.send({ temperature: 21.5 });

  await row(page, 'CONNECT wire-1').waitFor();
  await row(page, 'connected over mqtt').waitFor();
  await row(page, /PUBLISH telemetry/).click();
  await page.getByRole('heading', { name: 'Decoded' }).waitFor();
  await page.getByText('temperature').first().waitFor();
  await page.getByRole('heading', { name: 'Bytes' }).waitFor();
  await axe(page);
});

test('only one device and one kind of line is shown when asked for', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/wire?device=wire-3' });
  await page.getByText(/\d of \d.* lines/).waitFor();
  const other = await connectDevice(t, emulator, 'wire-2');
  const device = await connectDevice(t, emulator, 'wire-3');
  await other.send('x');
  await device.report({ a: 1 });

  await row(page, 'CONNECT wire-3').waitFor();
  assert.equal(await row(page, 'wire-2').count(), 0);
  await page.getByLabel('Show').selectOption('notice');
  await row(page, 'reported {"a":1').waitFor();
  assert.equal(await row(page, /CONNECT wire/).count(), 0);
  await page.getByLabel('Containing').fill('identity');
  await row(page, 'identity created').waitFor();
  await until(async () => (await row(page, 'reported').count()) === 0, 'the other lines are gone');
});

test('the list rests while paused and goes on', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/wire?device=wire-4' });
  const device = await connectDevice(t, emulator, 'wire-4');
  await row(page, 'CONNECT wire-4').waitFor();

  await page.getByRole('button', { name: 'Pause' }).click();
  await device.send('while paused');
  await page.getByText(/paused, [1-9]\d* wait/).waitFor();
  assert.equal(await row(page, 'telemetry').count(), 0);
  await page.getByRole('button', { name: 'Go on' }).click();

  await row(page, 'telemetry').waitFor();
});

test('what went over the wire is a file for others', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/wire' });
  const record = page.getByRole('button', { name: 'Record' });
  await record.click();
  await page.getByRole('button', { name: 'Recording', pressed: true }).waitFor();
  await connectDevice(t, emulator, 'wire-5');
  await row(page, 'CONNECT wire-5').waitFor();

  const packets = page.getByRole('link', { name: 'Wireshark file' });
  const response = await fetch(emulator.origin + (await packets.getAttribute('href')));
  const file = Buffer.from(await response.arrayBuffer());
  const json = page.getByRole('link', { name: 'JSON lines' });
  const lines = await (await fetch(emulator.origin + (await json.getAttribute('href')))).text();

  assert.equal(file.readUInt32LE(0), 0x0a0d0d0a);
  assert.ok(file.includes('wire-5'));
  assert.ok(lines.trim().split('\n').map((line) => JSON.parse(line)).some((line) => line.client === 'wire-5'));
  await page.getByRole('button', { name: 'Recording' }).click();
  await page.getByRole('button', { name: 'Record', exact: true }).waitFor();
});

test('it is all there by keyboard, in the dark and on a phone', async (t) => {
  await connectDevice(t, emulator, 'wire-6');
  for (const [name, screen] of Object.entries(SCREENS)) {
    await t.test(name, async (inner) => {
      const page = await browser.open(inner, emulator, { route: '#/wire?device=wire-6', screen });
      await row(page, 'connected over mqtt').waitFor();
      await page.locator('.vl-scroller').focus();
      await page.keyboard.press('Home');
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'All of it' }).waitFor();
      await axe(page);
    });
  }
});

test('a line that one chose stays while others come, and Escape leaves it', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/wire?device=wire-7' });
  const device = await connectDevice(t, emulator, 'wire-7');
  await row(page, 'connected over mqtt').waitFor();
  let sending = true;
  // One for each picture that the page draws: the list does not reach its limit meanwhile.
  const drawn = () => page.evaluate(() => new Promise((resolve) => { requestAnimationFrame(resolve); }));
  const sends = (async () => { while (sending) { await device.send('x'); await drawn(); } })().catch(() => {});
  t.after(() => { sending = false; });
  await row(page, /telemetry/).waitFor();

  // The rows do not run away from under the pointer.
  const box = await page.locator('.vl-scroller').boundingBox();
  await page.mouse.click(box.x + 300, box.y + 200, { delay: 300 });
  const detail = page.getByRole('region', { name: 'Line', exact: true });
  await detail.getByText('On the timeline').waitFor();
  const chosen = page.locator('.vl-row.selected');
  const [said, place] = [await chosen.textContent(), await chosen.boundingBox()];
  const before = await page.getByText(/\d of \d.* lines/).textContent();
  await until(async () => (await page.getByText(/\d of \d.* lines/).textContent()) !== before, 'more lines came');
  sending = false;
  await sends;

  assert.equal(await chosen.textContent(), said);
  assert.deepEqual(await chosen.boundingBox(), place);
  await page.keyboard.press('Escape');
  await detail.waitFor({ state: 'hidden' });
});

test('a connection that is older than the look at it is read as well', async (t) => {
  const device = await connectDevice(t, emulator, 'wire-8');
  const page = await browser.open(t, emulator, { route: '#/wire?device=wire-8&kind=mqtt' });
  await page.getByText(/\d of \d.* lines/).waitFor();

  await device.send({ a: 1 });

  await row(page, 'PUBLISH telemetry').waitFor();
});
