// A hub that goes away while a page is open, and comes back.

import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';

const emulator = useEmulator();
const browser = useBrowser();

// Chromium writes each request that nobody answered to the console.
const gone = [/net::ERR_/, /Failed to fetch/, /The emulator does not answer/, /status of 50\d/];

test('the page says that the hub is gone, and goes on when it is back', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/telemetry', allow: gone });
  const banner = page.locator('#banner');
  await page.getByText(/^Live/).waitFor();

  await emulator.vanish();
  await banner.getByText('does not answer').waitFor();
  await axe(page);
  await emulator.restart();
  await banner.waitFor({ state: 'hidden' });

  const device = await connectDevice(t, emulator, 'after-1');
  await page.getByText(/^Live/).waitFor();
  await device.send({ word: 'again' });
  await page.getByRole('row').filter({ hasText: 'again' }).first().waitFor();
});
