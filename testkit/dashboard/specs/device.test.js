// A device: everything that can be done to it, seen by a real device, and the other way round.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, useBrowser } from '../lib/browser.js';
import { connectDevice } from '../lib/device.js';
import { useEmulator } from '../lib/emulator.js';
import { until } from '../lib/wait.js';

const emulator = useEmulator();
const browser = useBrowser();

const TABS = ['Identity', 'Twin', 'Methods', 'Messages', 'Modules', 'Connections'];
const button = (page, name) => page.getByRole('button', { name, exact: true });
const tab = (page, name) => page.getByRole('tab', { name, exact: true });
const section = (page, name) => page.getByRole('region', { name, exact: true });
const identity = (id) => emulator.hub('GET', `/devices/${id}`);
const clipboard = (page) => page.evaluate(() => navigator.clipboard.readText());

/** The page of a device that is registered here. */
async function opened(t, id, name = 'Identity', options = {}) {
  await identity(id).catch(() => emulator.register(id));
  const route = `#/device?id=${encodeURIComponent(id)}&tab=${name.toLowerCase()}`;
  const page = await browser.open(t, emulator, { route, ...options });
  await tab(page, name).and(page.locator('[aria-selected="true"]')).waitFor();
  return page;
}

test('keys are hidden until they are asked for, and copied without', async (t) => {
  const page = await opened(t, 'keys-1');
  const { symmetricKey: { primaryKey } } = (await identity('keys-1')).authentication;
  assert.equal(await page.getByText(primaryKey).count(), 0);

  await button(page, 'Copy primary key').click();
  assert.equal(await clipboard(page), primaryKey);
  await button(page, 'Show primary key').click();
  await page.getByText(primaryKey, { exact: true }).waitFor();
  await button(page, 'Copy primary connection string').click();
  assert.ok((await clipboard(page)).endsWith(`;DeviceId=keys-1;SharedAccessKey=${primaryKey}`));
});

test('keys are swapped and made anew', async (t) => {
  const page = await opened(t, 'keys-2');
  const before = (await identity('keys-2')).authentication.symmetricKey;

  await button(page, 'Swap keys').click();
  await page.getByText('The keys have been swapped.').waitFor();
  const swapped = (await identity('keys-2')).authentication.symmetricKey;
  assert.deepEqual([swapped.primaryKey, swapped.secondaryKey], [before.secondaryKey, before.primaryKey]);

  await button(page, 'New secondary').click();
  await button(page, 'Make it').click();
  const made = await until(async () => {
    const { symmetricKey } = (await identity('keys-2')).authentication;
    return symmetricKey.secondaryKey !== swapped.secondaryKey && symmetricKey;
  }, 'there is a new secondary key');
  assert.equal(made.primaryKey, swapped.primaryKey);
  await until(async () => {
    await button(page, 'Copy secondary key').click();
    return await clipboard(page) === made.secondaryKey;
  }, 'the page has the new key');
});

test('a device is disabled with a reason, and loses its connection', async (t) => {
  const page = await opened(t, 'status-1');
  await connectDevice(t, emulator, 'status-1');
  await page.getByRole('main').getByText('mqtt').first().waitFor();

  await page.getByLabel('It may connect').selectOption('disabled');
  await page.getByLabel('Reason').fill('in repair');
  await section(page, 'Status').getByRole('button', { name: 'Save' }).click();

  await page.getByText('status-1 is disabled.').waitFor();
  await page.getByText('in repair').first().waitFor();
  await page.getByText('offline').first().waitFor();
  const { status, statusReason } = await identity('status-1');
  assert.deepEqual([status, statusReason], ['disabled', 'in repair']);
});

test('an edit of an identity that has changed meanwhile is refused', async (t) => {
  const page = await opened(t, 'status-2', 'Identity', { allow: [/status of 412/] });
  await page.getByLabel('Reason').fill('mine');
  // The page reads the change soon: the edit has to come before.
  await page.route('**/hub/devices/status-2', async (request) => {
    if (request.request().method() !== 'PUT') return request.continue();
    const now = await identity('status-2');
    await emulator.hub('PUT', '/devices/status-2', { ...now, statusReason: 'theirs' }, { 'If-Match': '*' });
    return request.continue();
  });
  await section(page, 'Status').getByRole('button', { name: 'Save' }).click();

  await page.getByText('It has been changed meanwhile').waitFor();
  assert.equal((await identity('status-2')).statusReason, 'theirs');
});

test('a token is signed that lets the device in', async (t) => {
  const page = await opened(t, 'token-1');
  await page.getByLabel('Good for').selectOption({ label: '1 day' });
  await button(page, 'Sign a token').click();
  await button(page, 'Copy token').click();

  const token = await clipboard(page);
  assert.match(token, /^SharedAccessSignature sr=/);
  const answer = await fetch(`${emulator.origin}/devices/token-1/messages/events?api-version=2021-04-12`, {
    method: 'POST', body: '{}', headers: { authorization: token },
  });
  assert.equal(answer.status, 204, await answer.text());
});

test('a connection is dropped, and its token expires', async (t) => {
  const page = await opened(t, 'kick-1');
  for (const [name, reason] of [['Drop it', /drop/], ['Expire its token now', /expired/]]) {
    await tab(page, 'Identity').click();
    const device = await connectDevice(t, emulator, 'kick-1');
    await page.getByRole('main').getByText('mqtt').first().waitFor();
    const ended = new Promise((resolve) => { device.client.once('disconnect', resolve); });
    device.onMethod('listen', () => [200, null]);
    await button(page, name).click();
    await ended;
    await tab(page, 'Connections').click();
    await page.getByRole('cell', { name: reason }).first().waitFor();
  }
  await axe(page);
});

test('who is refused is listed with the reason', async (t) => {
  await emulator.register('refused-1');
  const page = await opened(t, 'refused-1', 'Connections');
  await emulator.hub('PUT', '/devices/refused-1',
    { ...await identity('refused-1'), status: 'disabled' }, { 'If-Match': '*' });

  await assert.rejects(connectDevice(t, emulator, 'refused-1'));

  await page.getByRole('cell', { name: 'refused', exact: true }).waitFor();
});

test('what a device listens for is seen', async (t) => {
  const page = await opened(t, 'listen-1', 'Connections');
  const device = await connectDevice(t, emulator, 'listen-1');
  device.onMethod('reboot', () => [200, null]);

  await section(page, 'Now').getByText('mqtt').waitFor();
  await section(page, 'Now').getByText('methods').waitFor();
});

test('a reported property is seen at once, and what it was', async (t) => {
  const page = await opened(t, 'twin-1', 'Twin');
  const device = await connectDevice(t, emulator, 'twin-1');
  await device.report({ temperature: 21.5 });
  await section(page, 'Reported').getByText('21.5').waitFor();

  await device.report({ temperature: 22.5 });
  const change = section(page, 'Changes').getByRole('listitem').filter({ hasText: 'temperature' }).first();
  await change.getByText('22.5').waitFor();
  await change.getByText('21.5').waitFor();

  await section(page, 'Reported').getByText('Last written').click();
  await section(page, 'When reported was written').getByRole('cell', { name: 'temperature' }).waitFor();
  await axe(page);
});

test('desired properties are merged and replaced, and the device is told', async (t) => {
  await emulator.register('twin-2');
  await emulator.hub('PATCH', '/twins/twin-2', { properties: { desired: { interval: 5, mode: 'eco' } } });
  const device = await connectDevice(t, emulator, 'twin-2');
  const told = [];
  const twin = await device.twin();
  twin.on('properties.desired', (patch) => told.push(JSON.parse(JSON.stringify(patch))));
  await until(() => told.length === 1, 'the device has its desired properties');
  const page = await opened(t, 'twin-2', 'Twin');
  const desired = page.getByRole('textbox', { name: 'Desired, as JSON' });

  await desired.fill('{"interval": }');
  await page.getByText('Line 1, column 14').waitFor();
  assert.equal(await section(page, 'Desired').getByRole('button', { name: 'Merge' }).isDisabled(), true);

  await desired.fill('{"interval": 9}');
  await section(page, 'Desired').getByRole('button', { name: 'Merge' }).click();
  await until(() => told.some((patch) => patch.interval === 9), 'the device is told of the merge');
  await until(async () => (await desired.inputValue()).includes('eco'), 'what was not named stays');

  await desired.fill('{"only": true}');
  await section(page, 'Desired').getByRole('button', { name: 'Replace' }).click();
  await until(() => told.some((patch) => patch.only === true), 'the device is told of the rest');
  const { properties } = await emulator.hub('GET', '/twins/twin-2');
  assert.deepEqual(Object.keys(properties.desired).filter((name) => !name.startsWith('$')), ['only']);
});

test('a conflict is told, and settled either way', async (t) => {
  const page = await opened(t, 'twin-3', 'Twin', { allow: [/status of 412/] });
  const tags = page.getByRole('textbox', { name: 'Tags, as JSON' });
  const replace = section(page, 'Tags').getByRole('button', { name: 'Replace' });

  await tags.fill('{"site": "mine"}');
  await emulator.hub('PATCH', '/twins/twin-3', { tags: { site: 'theirs' } });
  await replace.click();
  await page.getByRole('alert').filter({ hasText: 'Conflict' }).waitFor();
  await axe(page);
  await button(page, 'Take theirs').click();
  assert.match(await tags.inputValue(), /theirs/);

  await tags.fill('{"site": "mine"}');
  await emulator.hub('PATCH', '/twins/twin-3', { tags: { site: 'others' } });
  await replace.click();
  await button(page, 'Write mine all the same').click();
  await until(async () => (await emulator.hub('GET', '/twins/twin-3')).tags.site === 'mine', 'mine is written');
});

test('what changed before the page was opened is listed, in order', async (t) => {
  await emulator.register('twin-4');
  for (const interval of [5, 7, 9]) {
    await emulator.hub('PATCH', '/twins/twin-4', { properties: { desired: { interval } } });
  }
  const page = await opened(t, 'twin-4', 'Twin');

  const changes = section(page, 'Changes').locator('.dv-changes > li');
  await until(async () => (await changes.count()) === 2, 'both changes are listed');
  assert.match((await changes.allTextContents()).join('\n'), /interval: 7 9[^]*interval: 5 7/);
  await emulator.hub('PATCH', '/twins/twin-4', { tags: { site: 'north' } });
  await emulator.hub('PATCH', '/twins/twin-4', { tags: { site: null } });
  await changes.filter({ hasText: 'site: "north"' }).first().waitFor();
});

test('a device that is deleted while one looks at it stays to be looked at', async (t) => {
  const page = await opened(t, 'gone-2', 'Twin', { allow: [/status of 404/] });

  await emulator.hub('DELETE', '/devices/gone-2', undefined, { 'If-Match': '*' });

  await page.getByRole('alert').filter({ hasText: 'gone-2 has been deleted' }).waitFor();
  await page.getByText('not registered', { exact: true }).waitFor();
  assert.equal(await tab(page, 'Twin').count(), 1);
  await axe(page);
});

test('a device that is not there is told to be none', async (t) => {
  const page = await browser.open(t, emulator, { route: '#/device?id=nobody', allow: [/status of 404/] });

  await page.getByRole('alert').filter({ hasText: 'nobody is not registered' }).waitFor();
});

test('the longest id fits', async (t) => {
  const id = `long-${'x'.repeat(123)}`;
  for (const screen of [SCREENS.light, SCREENS.phone]) {
    const page = await opened(t, id, 'Identity', { screen });
    const { wide, room } = await page.locator('h1').evaluate((head) => ({
      wide: head.scrollWidth, room: document.querySelector('main').clientWidth,
    }));
    assert.ok(wide < room, `${wide} px of ${room}`);
  }
});

test('a method is called, and so is what others call', async (t) => {
  const device = await connectDevice(t, emulator, 'method-1');
  device.onMethod('echo', (payload) => [207, { said: payload }]);
  const page = await opened(t, 'method-1', 'Methods');
  await until(async () => (await emulator.control('GET', '/connections/method-1'))[0]?.subscriptions
    .includes('methods'), 'the device listens for methods');

  await page.getByRole('combobox', { name: 'Method', exact: true }).fill('echo');
  await page.getByRole('textbox', { name: 'Payload' }).fill('{"a": [1, 2]}');
  await button(page, 'Call').click();
  const answer = section(page, 'Answer');
  await answer.getByText('207').waitFor();
  await answer.getByText('"said"').waitFor();

  await emulator.hub('POST', '/twins/method-1/methods', { methodName: 'echo', payload: 'by others' });
  const calls = section(page, 'Calls by anybody');
  await calls.getByRole('row').filter({ hasText: 'by others' }).first().waitFor();
  assert.equal(await calls.getByRole('row').count(), 3, 'each call once');
  await calls.getByRole('img', { name: /Latency of the last 2 calls/ }).waitFor();

  await calls.getByRole('button', { name: 'Again: echo' }).first().click();
  assert.equal(await page.getByRole('textbox', { name: 'Payload' }).inputValue(), '"by others"');
  await axe(page);
});

test('a call that nobody answers says why', async (t) => {
  const page = await opened(t, 'method-2', 'Methods', { allow: [/status of 404/] });
  await page.getByRole('combobox', { name: 'Method', exact: true }).fill('reboot');
  await button(page, 'Call').click();

  await section(page, 'Answer').getByRole('alert').filter({ hasText: "isn't online" }).waitFor();
});

test('a call that was refused to somebody else is listed, too, and one\'s own once', async (t) => {
  const page = await opened(t, 'method-3', 'Methods', { allow: [/status of 404/] });
  const calls = section(page, 'Calls by anybody');
  await emulator.hub('POST', '/twins/method-3/methods', { methodName: 'theirs' }).catch(() => {});
  await calls.getByText(/^DeviceNotOnline/).waitFor();

  await page.getByRole('combobox', { name: 'Method', exact: true }).fill('mine');
  await button(page, 'Call').click();
  await section(page, 'Answer').getByRole('alert').waitFor();
  await emulator.hub('POST', '/twins/method-3/methods', { methodName: 'theirs' }).catch(() => {});

  await until(async () => (await calls.getByText(/^DeviceNotOnline/).count()) === 2, 'both of theirs are there');
  assert.equal(await calls.getByRole('row').filter({ hasText: 'mine' }).count(), 1);
  assert.equal(await calls.getByRole('row').count(), 4);
});

test('a message waits in the queue, is taken, and its end is told', async (t) => {
  const page = await opened(t, 'c2d-1', 'Messages');
  await page.getByLabel('Body', { exact: true }).fill('{"go": "ñ"}');
  await page.getByLabel('Message id').fill('m-1');
  await page.getByLabel('Content type').fill('application/json');
  await page.getByLabel('Feedback').selectOption('full');
  await button(page, 'Add property').click();
  await page.getByLabel('Property name').fill('level');
  await page.getByLabel('Property value').fill('hoch 🙂');
  await axe(page);
  await button(page, 'Send').click();

  const waiting = section(page, 'Queue').getByRole('row').filter({ hasText: 'm-1' });
  await waiting.getByText('enqueued').waitFor();
  await waiting.getByText('full').waitFor();

  const device = await connectDevice(t, emulator, 'c2d-1');
  const received = new Promise((resolve) => {
    device.onMessage((text, message) => resolve([text, message.properties.getValue('level')]));
  });
  assert.deepEqual(await received, ['{"go": "ñ"}', 'hoch 🙂']);
  await section(page, 'What became of them').getByRole('row').filter({ hasText: 'm-1' })
    .getByText('Success').waitFor();
  await section(page, 'Queue').getByText('0 waiting').waitFor();
});

test('a message that a device has taken is locked, until when is told', async (t) => {
  const page = await opened(t, 'c2d-3', 'Messages');
  await emulator.hub('POST', '/devices/c2d-3/messages/deviceBound', 'hello');
  const { token } = await emulator.control('POST', '/auth/sign', { client: 'c2d-3', seconds: 600 });

  const taken = await fetch(`${emulator.origin}/devices/c2d-3/messages/deviceBound?api-version=2021-04-12`, {
    headers: { authorization: token },
  });
  assert.equal(taken.status, 200);
  await taken.text();

  const queue = section(page, 'Queue');
  await queue.getByText('locked', { exact: true }).waitFor();
  await queue.getByText(/for \d+ s more/).waitFor();
});

test('a queue is purged', async (t) => {
  const page = await opened(t, 'c2d-2', 'Messages');
  await page.getByLabel('The body is').selectOption('base64');
  await page.getByLabel('Body', { exact: true }).fill('AAEC/w==');
  for (let n = 1; n <= 2; n += 1) {
    await button(page, 'Send').click();
    await section(page, 'Queue').getByText(`${n} waiting`).waitFor();
  }

  await button(page, 'Purge').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Purge' }).click();

  await section(page, 'Queue').getByText('0 waiting').waitFor();
  await section(page, 'What became of them').getByText('Purged').first().waitFor();
});

test('modules are added, opened and deleted', async (t) => {
  const page = await opened(t, 'modules-1', 'Modules');
  await button(page, 'Add module').click();
  await page.getByLabel('Module id').fill('vision');
  await page.getByRole('dialog').getByRole('button', { name: 'Add', exact: true }).click();
  await page.getByText('modules-1/vision has been added').waitFor();
  await page.getByRole('dialog').getByRole('link', { name: 'Open' }).click();

  await page.getByRole('heading', { level: 1, name: 'vision' }).waitFor();
  assert.equal(await tab(page, 'Modules').count(), 0);
  await page.getByRole('link', { name: 'modules-1', exact: true }).click();
  await tab(page, 'Modules').click();
  await button(page, 'Delete vision').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('It has no modules.').waitFor();
});

test('a device gets a parent and loses it', async (t) => {
  await emulator.register('gateway-1', { capabilities: { iotEdge: true } });
  const page = await opened(t, 'child-1');
  const save = section(page, 'About').getByRole('button', { name: 'Save' });

  await page.getByLabel('Parent').fill('gateway-1');
  await save.click();
  await until(async () => (await identity('child-1')).parentScopes?.length === 1, 'it has a parent');
  await page.getByLabel('Parent').fill('');
  await save.click();
  await until(async () => (await identity('child-1')).parentScopes?.length === 0, 'it has none');
});

test('a device becomes a gateway with system modules, which stay', async (t) => {
  const page = await opened(t, 'gateway-2');
  await page.getByLabel('IoT Edge device').check();
  await section(page, 'About').getByRole('button', { name: 'Save' }).click();
  await page.getByText('IoT Edge', { exact: true }).waitFor();

  await tab(page, 'Modules').click();
  const agent = page.getByRole('row').filter({ has: page.getByRole('link', { name: '$edgeAgent' }) });
  await agent.getByText('system').waitFor();
  assert.equal(await agent.getByRole('button').count(), 0);
  const { capabilities, deviceScope } = await identity('gateway-2');
  assert.equal(capabilities.iotEdge, true);
  assert.match(deviceScope, /^ms-azure-iot-edge:\/\/gateway-2-/);
});

test('a device changes from keys to a certificate that is made for it', async (t) => {
  const page = await opened(t, 'cert-1');
  await button(page, 'Change…').click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Authentication').selectOption('selfSigned');
  await axe(page);
  await dialog.getByRole('button', { name: 'Save' }).click();

  await button(page, 'Download private key').waitFor();
  await page.keyboard.press('Escape');
  const { authentication } = await identity('cert-1');
  assert.equal(authentication.type, 'selfSigned');
  await page.getByText(authentication.x509Thumbprint.primaryThumbprint).waitFor();
  assert.equal(await section(page, 'SAS token').count(), 0);
  await button(page, 'Copy connection string').click();
  assert.match(await clipboard(page), /;DeviceId=cert-1;x509=true$/);
});

test('a device is deleted, and the list is shown', async (t) => {
  const page = await opened(t, 'gone-1');
  await button(page, 'Delete…').click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();

  await page.getByRole('heading', { level: 1, name: 'Devices' }).waitFor();
  await assert.rejects(identity('gone-1'));
});

test('tabs are reached with the keyboard alone', async (t) => {
  const page = await opened(t, 'tabs-1');
  await tab(page, 'Identity').focus();

  for (const name of [...TABS.slice(1), TABS[0]]) {
    await page.keyboard.press('ArrowRight');
    await tab(page, name).and(page.locator('[aria-selected="true"]')).waitFor();
  }
  await page.keyboard.press('End');
  await page.waitForURL(/tab=connections/);
});

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`every tab is good on the screen ${name}`, async (t) => {
    const device = await connectDevice(t, emulator, `screen-${name}`);
    device.onMethod('reboot', () => [200, null]);
    await device.report({ firmware: { version: '1.2.3' }, name: 'x'.repeat(300) });
    await emulator.hub('POST', `/devices/screen-${name}/messages/deviceBound`, 'hello');
    const page = await opened(t, `screen-${name}`, 'Identity', { screen });

    for (const one of TABS) {
      await t.test(one, async () => {
        await tab(page, one).click();
        await page.getByRole('tabpanel', { name: one }).locator('section').first().waitFor();
        await axe(page);
        const { wide, room } = await page.evaluate(() => ({
          wide: document.scrollingElement.scrollWidth, room: document.documentElement.clientWidth,
        }));
        assert.ok(wide <= room, `${wide} px wide on a screen of ${room}`);
      });
    }
  });
}
