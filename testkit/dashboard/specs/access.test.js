// An emulator with an administrator's token: nothing without it, everything with it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { mounted, useBrowser } from '../lib/browser.js';
import { useEmulator } from '../lib/emulator.js';

const TOKEN = 'an-administrator-knows-this';
const emulator = useEmulator({ args: ['--in-memory', '--admin-token', TOKEN] });
const browser = useBrowser();

const denied = [/status of 401/];

test('the token is asked for, a wrong one refused, the right one remembered', async (t) => {
  await emulator.register('hidden-1');
  const page = await browser.open(t, emulator, { route: '#/devices', allow: denied, signedIn: false });
  const dialog = page.getByRole('dialog');
  const field = dialog.getByLabel(/token/i);
  await field.waitFor();
  assert.equal(await page.getByText('hidden-1').count(), 0);
  await axe(page);

  await field.fill('something else');
  await page.keyboard.press('Enter');
  await dialog.getByRole('alert').first().waitFor();
  await field.fill(TOKEN);
  await page.keyboard.press('Enter');

  await dialog.waitFor({ state: 'hidden' });
  await page.getByText('hidden-1').first().waitFor();
  await page.reload();
  await mounted(page);
  await page.getByText('hidden-1').first().waitFor();
  const cookies = await page.context().cookies();
  assert.ok(cookies.length > 0 && cookies.every((it) => it.httpOnly && it.sameSite === 'Strict'), JSON.stringify(cookies));
  assert.equal(await page.evaluate(() => document.cookie), '');
});

test('without the token nothing is told, but that it lives', async () => {
  for (const path of ['info', 'devices', 'hub/devices', 'events', 'stats', 'timeline']) {
    const response = await fetch(`${emulator.origin}/_emulator/${path}`);
    await response.text();
    assert.equal(response.status, 401, path);
  }
  const alive = await fetch(`${emulator.origin}/_emulator/health`);
  assert.equal(alive.status, 200);
});

test('another site can neither read nor write, whatever it calls itself', async () => {
  const ask = (headers) =>
    fetch(`${emulator.origin}/_emulator/reset`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${TOKEN}`, ...headers },
    });

  assert.equal((await ask({ Origin: 'https://elsewhere.example' })).status, 403);
  assert.equal((await ask({ 'Sec-Fetch-Site': 'cross-site' })).status, 403);
  assert.equal((await emulator.hub('GET', '/devices/hidden-1')).deviceId, 'hidden-1');
});
