// Every page, on every screen: it opens without an error, nobody is shut out, nothing is cut off.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { axe } from '../lib/axe.js';
import { SCREENS, goTo, routes, useBrowser } from '../lib/browser.js';
import { useEmulator } from '../lib/emulator.js';

const emulator = useEmulator({ prepare });
const browser = useBrowser();

/** Pages that the navigation does not lead to. */
const FURTHER = ['#/device?id=thermostat-1'];

async function prepare() {
  await emulator.registerMany(40, 'sensor-');
  await emulator.register('thermostat-1');
  await emulator.hub('PATCH', '/twins/thermostat-1', {
    tags: { site: 'north', floor: 2 },
    properties: { desired: { interval: 5, mode: 'eco' } },
  });
}

for (const [name, screen] of Object.entries(SCREENS)) {
  test(`every page is good on the screen ${name}`, async (t) => {
    const page = await browser.open(t, emulator, { screen });

    for (const route of [...(await routes(page)), ...FURTHER]) {
      await t.test(route, async () => {
        await goTo(page, route);
        await axe(page);
        const { wide, screenWidth } = await page.evaluate(() => ({
          wide: document.scrollingElement.scrollWidth,
          screenWidth: document.documentElement.clientWidth,
        }));
        assert.ok(wide <= screenWidth, `${wide} px wide on a screen of ${screenWidth}`);
        assert.equal(await page.locator('h1').count(), 1, 'one main heading');
        assert.match(await page.title(), /\S/);
      });
    }
  });
}
