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
/** As often as Tab is pressed at most until a page is through. */
const MOST_STOPS = 150;

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

for (const name of ['light', 'phone']) {
  test(`the Tab key goes through every page and is seen to, on the screen ${name}`, async (t) => {
    const page = await browser.open(t, emulator, { screen: SCREENS[name] });

    for (const route of [...(await routes(page)), ...FURTHER]) {
      await t.test(route, async () => {
        await goTo(page, route);
        await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
        const reached = [];
        for (let presses = 0; presses < MOST_STOPS; presses += 1) {
          await page.keyboard.press('Tab');
          const stop = await page.evaluate(focused);
          if (!stop || stop.label === reached[0]) break;
          assert.ok(stop.isOutlined, `${stop.label}: the focus cannot be seen`);
          assert.equal(stop.cover, '', `${stop.label} is covered`);
          reached.push(stop.label);
        }
        assert.ok(reached.length > 4 && reached.length < MOST_STOPS, `${reached.length} stops, the last ${reached.at(-1)}`);
      });
    }
  });
}

/** What has the focus, in the page: its outline, and what lies over it. */
function focused() {
  const it = document.activeElement;
  if (!it || it === document.body) return null;
  const label = `${it.tagName} ${it.id} ${it.getAttribute('aria-label') ?? it.textContent.trim().slice(0, 40)}`;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(it);
  const isOutlined = (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
  const { left, right, top, bottom } = it.getBoundingClientRect();
  const middle = (from, to, most) => (Math.max(from, 0) + Math.min(to, most - 1)) / 2;
  const over = document.elementFromPoint(middle(left, right, innerWidth), middle(top, bottom, innerHeight));
  const isSeen = over && (it.contains(over) || over.contains(it) || it.labels?.[0]?.contains(over));
  return { label, isOutlined, cover: isSeen ? '' : over?.outerHTML.slice(0, 120) ?? 'the edge of the window' };
}
