// Lists that are longer than a browser can be high.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { heap, useBrowser } from '../lib/browser.js';
import { useEmulator } from '../lib/emulator.js';

const DEVICES = Number(process.env.DASHBOARD_DEVICES ?? 100_000);
const digits = String(DEVICES - 1).length;
const nameOf = (number) => `d${String(number).padStart(digits, '0')}`;

const emulator = useEmulator({ args: ['--in-memory', '--log', 'warn'], prepare });
const browser = useBrowser();

async function prepare() {
  const key = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=';
  const authentication = { type: 'sas', symmetricKey: { primaryKey: key, secondaryKey: key } };
  for (let first = 0; first < DEVICES; first += 50_000) {
    const devices = Array.from({ length: Math.min(50_000, DEVICES - first) }, (_, index) => ({
      deviceId: nameOf(first + index), authentication,
    }));
    await emulator.control('POST', '/seed', { devices });
  }
}

test(`a list of ${DEVICES} devices scrolls smoothly to any place`, async (t) => {
  const page = await browser.open(t, emulator, { route: '#/devices' });
  await page.getByText(nameOf(0), { exact: true }).waitFor();
  const before = await heap(page);

  await page.locator('.vl-scroller').focus();
  await page.keyboard.press('End');
  await page.getByText(nameOf(DEVICES - 1), { exact: true }).waitFor();
  await page.keyboard.press('Home');
  await page.getByText(nameOf(0), { exact: true }).waitFor();

  const box = await page.locator('.vl-scroller').boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  const recorder = await page.evaluateHandle(() => {
    const times = [];
    let last = performance.now();
    let request = requestAnimationFrame(function frame(now) {
      times.push(now - last);
      last = now;
      request = requestAnimationFrame(frame);
    });
    return { stop: () => { cancelAnimationFrame(request); return times.sort((a, b) => a - b); } };
  });
  for (let turn = 0; turn < 100; turn += 1) await page.mouse.wheel(0, 400);
  const frames = await recorder.evaluate((it) => it.stop());
  const at = (share) => frames[Math.floor((frames.length - 1) * share)].toFixed(0);
  t.diagnostic(`${frames.length} frames while scrolling: median ${at(0.5)} ms, 99 % below ${at(0.99)} ms`);

  const shown = await page.locator('.vl-scroller [role=row]').count();
  assert.ok(shown < 200, `${shown} rows are in the page`);
  const after = await heap(page);
  t.diagnostic(`heap ${(before / 2 ** 20).toFixed(1)} → ${(after / 2 ** 20).toFixed(1)} MiB`);
  assert.ok(after < before + 30 * 2 ** 20);
});

test('the last of them is found by a part of its name and by a query', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/devices' });
  const last = nameOf(DEVICES - 1);

  await page.getByLabel('Filter').fill(last.slice(1));
  await page.getByText(/^1 devices?, found/).waitFor();
  await page.getByText(last, { exact: true }).waitFor();
});
