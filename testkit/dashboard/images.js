// The pictures of emulator/docs/images: each page with the same sample data.

import { mkdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

import { EXECUTABLE, SCREENS, openIn } from './lib/browser.js';
import { Emulator } from './lib/emulator.js';
import { sampleHub, sampleTelemetry } from './lib/sample.js';

const FOLDER = fileURLToPath(new URL('../../emulator/docs/images/', import.meta.url));
/** Larger ones are a burden for whoever clones. */
const MOST_BYTES = 150 * 1024;
const SCREEN = { ...SCREENS.light, viewport: { width: 1200, height: 780 } };
const HIGH = { ...SCREENS.light, viewport: { width: 1200, height: 940 } };

const PICTURES = [
  { name: 'overview', route: '#/overview', seconds: 45 },
  { name: 'overview-dark', route: '#/overview', screen: { ...SCREEN, colorScheme: 'dark' }, seconds: 30 },
  { name: 'devices', route: '#/devices' },
  { name: 'device', route: '#/device?id=thermostat-1&tab=twin' },
  { name: 'telemetry', route: '#/telemetry?path=temperature&device=thermostat-1', prepare: pickFirst('temperature') },
  { name: 'wire', route: '#/wire?device=thermostat-1', prepare: callMethod },
  { name: 'auth', route: '#/auth', screen: HIGH, prepare: pasteExpired },
  { name: 'clock', route: '#/clock', screen: HIGH },
  { name: 'events', route: '#/events?tab=matched' },
  { name: 'phone', route: '#/devices', screen: SCREENS.phone },
];

/** What ends with the pictures. */
const endings = [];
const t = { after: (end) => endings.unshift(end) };

const wanted = process.argv.slice(2);
const emulator = await new Emulator({ args: ['--in-memory', '--seed', '1', '--routes-dir', 'routed'] }).start();
t.after(() => emulator.stop());
const browser = await chromium.launch({ executablePath: EXECUTABLE, args: ['--no-sandbox', '--font-render-hinting=none'] });
t.after(() => browser.close());

try {
  await mkdir(FOLDER, { recursive: true });
  t.after(sampleTelemetry(await sampleHub(t, emulator)));
  for (const { name, route, screen = SCREEN, seconds = 5, prepare } of PICTURES) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    const page = await openIn(browser, t, emulator, { route, screen, allow: [/./] });
    // The charts have something to show.
    await page.waitForTimeout(seconds * 1000);
    await prepare?.(page);
    const picture = await page.screenshot({ animations: 'disabled', scale: 'css' });
    await writeFile(path.join(FOLDER, `${name}.png`), picture);
    const { size } = await stat(path.join(FOLDER, `${name}.png`));
    console.log(`${name}.png: ${(size / 1024).toFixed(0)} KiB`);
    if (size > MOST_BYTES) throw new Error(`${name}.png has ${size} bytes`);
  }
} finally {
  for (const end of endings) await end();
}

function pickFirst(text) {
  return async (page) => {
    await page.getByRole('row').filter({ hasText: text }).first().click();
  };
}

async function callMethod(page) {
  await emulator.hub('POST', '/twins/thermostat-1/methods', { methodName: 'reboot', payload: { in: 5 } });
  await page.getByLabel('Containing').fill('method');
  await page.getByRole('row').filter({ hasText: 'PUBLISH method call reboot' }).click();
}

async function pasteExpired(page) {
  const { token } = await emulator.control('POST', '/auth/sign', { client: 'thermostat-1', seconds: -7200 });
  await page.getByLabel('What was refused').fill(token);
  await page.getByText('Refused', { exact: true }).waitFor();
  await page.getByRole('heading', { level: 1 }).click();
}
