// Clock and faults: time stands and jumps, rules are armed and seen to fire.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';
import { until } from '../lib/wait.js';

const emulator = useEmulator();
/** Its clock is the world's, which devices make their tokens by. */
const onTime = useEmulator();
const browser = useBrowser();

test('the clock is stopped, advanced and let go', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/clock' });

  await page.getByRole('button', { name: 'Freeze' }).click();
  await page.getByText('It stands still.', { exact: false }).waitFor();
  const before = await emulator.control('GET', '/clock');
  await page.getByRole('button', { name: '1 h', exact: true }).click();
  const after = await until(async () => {
    const face = await emulator.control('GET', '/clock');
    return face.now !== before.now && face;
  }, 'the clock has been moved');
  assert.equal(Date.parse(after.now) - Date.parse(before.now), 3_600_000);
  await page.getByLabel('Amount').fill('2');
  await page.getByLabel('Unit').selectOption('days');
  await page.getByRole('button', { name: 'Advance', exact: true }).click();
  await page.getByText('2 d', { exact: false }).first().waitFor();
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.getByText('It runs.', { exact: false }).waitFor();

  assert.equal((await emulator.control('GET', '/clock')).frozen, false);
});

test('what is due next is listed and gone to', async (t) => {
  await emulator.register('waits');
  await emulator.control('POST', '/clock/freeze');
  await emulator.hub('POST', '/devices/waits/messages/devicebound', 'hello', {
    'iothub-expiry': '', 'Content-Type': 'text/plain',
  });
  const page = await browser.open(t, emulator, { route: '#/clock' });

  const timers = page.getByRole('region', { name: 'Timers' });
  await timers.getByText('waits', { exact: true }).waitFor();
  await axe(page);
  await page.getByRole('button', { name: 'To the next timer' }).click();
  await page.getByText('The clock went', { exact: false }).waitFor();

  await until(async () => {
    const { body = [] } = { body: await emulator.control('GET', '/clock/timers?count=50') };
    const list = Array.isArray(body) ? body : body.timers;
    return !list.some(({ client }) => client === 'waits');
  }, 'the message has expired');
  await emulator.control('POST', '/clock/resume');
});

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`a fault is armed and fires on the screen ${name}`, async (t) => {
    await emulator.control('DELETE', '/faults');
    const id = `faulty-${name}`;
    await emulator.register(id);
    const page = await browser.open(t, emulator, { route: '#/clock', screen });

    await page.getByLabel('Operation').selectOption('getTwin');
    await page.getByLabel('Code').selectOption('ThrottlingException');
    await page.getByLabel('Device or module').fill(id);
    await page.getByRole('button', { name: 'Arm', exact: true }).click();
    await page.getByRole('region', { name: 'Armed rules' }).getByText('armed', { exact: true }).waitFor();
    await assert.rejects(emulator.hub('GET', `/twins/${id}`), /429/);

    await page.getByRole('region', { name: 'Faults that fired' }).getByText(id).waitFor();
    await page.getByRole('region', { name: 'Armed rules' }).getByText('done', { exact: true }).waitFor();
    await axe(page);
    await page.getByRole('button', { name: 'Clear all' }).click();
    await page.getByText('No rule is armed.').waitFor();
  });
}

test('a preset fills the form, and a connection is ended by keyboard', async (t) => {
  const device = await connectDevice(t, onTime, 'cut');
  let ended = false;
  device.client.on('disconnect', () => { ended = true; });
  const page = await browser.open(t, onTime, { route: '#/clock' });

  await page.getByRole('button', { name: 'Refuse 2 connects' }).focus();
  await page.keyboard.press('Enter');
  assert.equal(await page.getByLabel('Operation').inputValue(), 'connect');
  assert.equal(await page.getByLabel('How many').inputValue(), '2');
  await page.getByLabel('What it does').selectOption('drop');
  await page.getByLabel('Device or module').fill('cut');
  await page.keyboard.press('Enter');

  await page.getByText('The connection of cut was ended.').waitFor();
  await until(() => ended, 'the device sees its connection end');
});
