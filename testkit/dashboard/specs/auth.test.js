// The auth doctor: what is pasted is explained at once, and a right token is made.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, useBrowser } from '../lib/browser.js';
import { useEmulator } from '../lib/emulator.js';

const emulator = useEmulator({ prepare: (hub) => hub.register('d1') });
const browser = useBrowser();

async function token(seconds, rest = {}) {
  return (await emulator.control('POST', '/auth/sign', { client: 'd1', seconds, ...rest })).token;
}

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`a refused token is explained on the screen ${name}`, async (t) => {
    const expired = await token(-7200);
    const page = await browser.open(t, emulator, { route: '#/auth', screen });

    await page.getByLabel('What was refused').fill(`"${expired}"`);

    await page.getByText('Refused', { exact: true }).waitFor();
    await page.getByText('The token expired 2 hours ago', { exact: false }).waitFor();
    await page.getByText('The text is in quotes.').waitFor();
    await page.getByText('primary key of device d1', { exact: true }).first().waitFor();
    const signed = await page.getByLabel('String to sign', { exact: true }).textContent();
    assert.match(signed, /%2Fdevices%2Fd1⏎\n\d+$/);
    await axe(page);
    const wide = await page.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} px too wide`);
  });
}

test('the device decides what a token is worth, and stays in the address', async (t) => {
  await emulator.register('d2');
  const page = await browser.open(t, emulator, { route: '#/auth' });

  await page.getByLabel('What was refused').fill(await token(60));
  await page.getByText('Accepted', { exact: true }).waitFor();
  await page.getByLabel('As this device or module').fill('d2');
  await page.keyboard.press('Tab');

  await page.getByText('Refused', { exact: true }).waitFor();
  await page.getByText('The token is for devices/d1, the client is device d2.').waitFor();
  assert.match(page.url(), /#\/auth\?client=d2$/);
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.getByText('Nothing has been pasted yet.').waitFor();
});

test('a right token is made and explained by keyboard alone', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/auth?client=d1' });

  await page.getByLabel('Good for').focus();
  await page.getByLabel('Good for').selectOption('86400');
  await page.getByRole('button', { name: 'Make a token' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Explain it' }).focus();
  await page.keyboard.press('Enter');

  await page.getByText('Accepted', { exact: true }).waitFor();
  await page.getByText(/good for another 2[34] hours/).waitFor();
  assert.match(await page.getByLabel('What was refused').inputValue(), /^SharedAccessSignature sr=/);
});

test('a policy signs for the hub, and whoever is not there is told', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/auth', allow: [/status of 404/] });

  await page.getByLabel('Who signs').selectOption('policy');
  await page.getByLabel('Policy').selectOption('service');
  await page.getByRole('button', { name: 'Make a token' }).click();
  await page.getByText('SharedAccessKeyName=service', { exact: false }).waitFor();
  await page.getByLabel('Who signs').selectOption('client');
  await page.getByLabel('Device or module', { exact: true }).fill('nobody');
  await page.getByRole('button', { name: 'Make a token' }).click();

  await page.getByRole('alert').waitFor();
});

test('what is pasted is text and nothing else', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/auth' });

  await page.getByLabel('What was refused').fill(
    'SharedAccessSignature sr=<img src=x onerror=alert(1)>&sig=<b>&se=<script>alert(1)</script>',
  );

  await page.getByText('Refused', { exact: true }).waitFor();
  assert.equal(await page.locator('main :is(img, script)').count(), 0);
});

test('a connection string is judged, and what is wrong in it named', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/auth' });
  const string = emulator.ready.connection_strings.service;

  await page.getByLabel('What was refused').fill(string);
  await page.getByText('this is a connection string', { exact: false }).waitFor();
  await page.getByText('Accepted', { exact: true }).waitFor();
  await page.getByLabel('What was refused').fill(string.replace('SharedAccessKeyName=service', 'SharedAccessKeyName=nobody'));

  await page.getByText('Refused', { exact: true }).waitFor();
  await axe(page);
});

test('a certificate is held against the device whose it is', async (t) => {
  const { certificate, thumbprint_sha256: print } = await emulator.control('POST', '/certificates/leaf', { commonName: 'x-1', days: 1 });
  await emulator.register('x-1', { authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: print } } });
  await emulator.register('x-2', { authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: 'A'.repeat(64) } } });
  const page = await browser.open(t, emulator, { route: '#/auth?client=x-1' });

  await page.getByLabel('What was refused').fill(certificate);
  await page.getByText('this is a certificate', { exact: false }).waitFor();
  await page.getByText('Accepted', { exact: true }).waitFor();
  await page.getByLabel('As this device or module').fill('x-2');
  await page.keyboard.press('Tab');

  await page.getByText('Refused', { exact: true }).waitFor();
});
