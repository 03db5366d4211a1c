// Events and routes: set, tried, and seen to match.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';

const emulator = useEmulator();
const browser = useBrowser();
const ALARMS = {
  name: 'alarms', source: 'DeviceMessages', condition: "level = 'alarm'", endpointNames: ['events'], isEnabled: true,
};

beforeEach(() => emulator.control('DELETE', '/routing'));

test('a route is added, set, switched off and deleted', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/events' });

  await page.getByText('No route: everything goes', { exact: false }).waitFor();
  await page.getByRole('button', { name: 'Add a route' }).click();
  await page.getByRole('button', { name: 'Set', exact: true }).click();
  await page.getByRole('button', { name: 'alarms: On' }).click();
  await page.getByText('alarms is off.').waitFor();
  const { routes } = await emulator.control('GET', '/routing');
  assert.deepEqual(routes.map(({ name, isEnabled }) => [name, isEnabled]), [['alarms', false]]);
  await page.getByRole('button', { name: 'Delete alarms' }).click();
  await page.getByText('No route: everything goes', { exact: false }).waitFor();
});

test('what is wrong in the document is told, and nothing is set', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/events', allow: [/status of 400/] });
  const editor = page.getByLabel('Routing', { exact: true });

  await page.getByText('No route: everything goes', { exact: false }).waitFor();
  await editor.fill('{ "routes": [ }');
  await page.getByText(/Line 1, column/).waitFor();
  await editor.fill(JSON.stringify({ routes: [{ ...ALARMS, condition: 'level = ' }] }));
  await page.getByRole('button', { name: 'Set', exact: true }).click();

  await page.getByRole('alert').getByText('routes[0]', { exact: false }).waitFor();
  assert.deepEqual((await emulator.control('GET', '/routing')).routes, []);
});

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`a message is tried and one is seen to match on the screen ${name}`, async (t) => {
    await emulator.control('PUT', '/routing', { routes: [ALARMS] });
    const id = `sender-${name}`;
    const device = await connectDevice(t, emulator, id);
    const page = await browser.open(t, emulator, { route: '#/events?tab=try', screen });

    await page.getByRole('button', { name: 'Try', exact: true }).click();
    await page.getByText('It goes to events.', { exact: true }).waitFor();
    await page.getByLabel('Only this condition').fill('$body.temperature > 100');
    await page.getByLabel('Only this condition').press('Enter');
    await page.getByText('The condition is not met.').waitFor();
    await axe(page);

    await device.send({ temperature: 31 }, { level: 'alarm' });
    await page.getByRole('tab', { name: 'What matched' }).click();
    const last = page.getByRole('region', { name: 'Messages, the latest first' });
    await last.getByText(id).waitFor();
    await last.getByText('alarms').first().waitFor();
    await axe(page);
    await page.getByRole('tab', { name: 'Readers and partitions' }).click();
    await page.getByRole('region', { name: 'Partitions' }).waitFor();
    await axe(page);
  });
}

test('consumer groups are made and deleted, tabs moved through by keyboard', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/events' });

  await page.getByRole('tab', { name: 'Routes' }).focus();
  await page.keyboard.press('End');
  await page.getByLabel('New group').fill('dashboards');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Delete dashboards' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();

  await page.getByRole('button', { name: 'Delete dashboards' }).waitFor({ state: 'detached' });
  const { value } = await emulator.control('GET', '/consumer-groups');
  assert.deepEqual(value.map(({ name }) => name), ['$Default']);
});
