// Pages left open while devices send more than anybody can read: what is let go is counted, and
// neither the tab nor the hub grows.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { heap, useBrowser } from '../lib/browser.js';
import { useEmulator } from '../lib/emulator.js';
import { startLoad } from '../lib/load.js';

const SECONDS = Number(process.env.DASHBOARD_SOAK ?? 10);
const RATE = 20_000;
const MEBIBYTE = 1024 * 1024;

const emulator = useEmulator({ args: ['--in-memory', '--retention-bytes', String(32 * MEBIBYTE), '--log', 'warn'] });
const browser = useBrowser();

for (const route of ['#/overview', '#/telemetry', '#/wire']) {
  test(`${route} stays small under ${RATE} messages a second`, { skip: SECONDS === 0 }, async (t) => {
    const page = await browser.open(t, emulator, { route });
    const load = await startLoad(emulator, `loud-${route.slice(2)}`, { rate: RATE });
    t.after(() => load.stop());
    // What grows at first, and then no more: buffers, compiled code, the log up to its limit.
    await passes(page, 3);
    const [tab, hub, sent] = [await heap(page), await emulator.memory(), load.sent];

    await passes(page, SECONDS);
    const [tabAfter, hubAfter] = [await heap(page), await emulator.memory()];

    const rate = Math.round((load.sent - sent) / SECONDS);
    const figures = `${rate} messages/s; tab ${mebi(tab)} → ${mebi(tabAfter)}; hub ${mebi(hub)} → ${mebi(hubAfter)}`;
    t.diagnostic(figures);
    assert.ok(tabAfter < tab + 40 * MEBIBYTE, figures);
    assert.ok(hubAfter < hub + 120 * MEBIBYTE, figures);
    // It is still alive.
    assert.equal(await page.locator('main h1').count(), 1);
    const frames = await page.evaluate(() => new Promise((resolve) => {
      let count = 0;
      const end = performance.now() + 1000;
      const frame = (now) => { count += 1; if (now < end) requestAnimationFrame(frame); else resolve(count); };
      requestAnimationFrame(frame);
    }));
    t.diagnostic(`${frames} frames in a second`);
    assert.ok(frames > 3, `${frames} frames in a second`);
  });
}

/** Time itself is what this is about. */
function passes(page, seconds) {
  return page.waitForTimeout(seconds * 1000);
}

function mebi(bytes) {
  return `${(bytes / MEBIBYTE).toFixed(1)} MiB`;
}
