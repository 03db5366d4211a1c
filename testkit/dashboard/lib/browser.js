// Chromium, and pages that fail their test when anything at all goes wrong in them.

import { after, before } from 'node:test';
import { chromium } from 'playwright-core';

import { LIMIT } from './wait.js';

/** The browser. */
export const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Screens that every page has to be good on. */
export const SCREENS = {
  light: { colorScheme: 'light', viewport: { width: 1280, height: 800 } },
  dark: { colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
  phone: {
    colorScheme: 'light',
    viewport: { width: 390, height: 844 },
    deviceScaleFactor: 2,
    isMobile: true,
    hasTouch: true,
  },
};

/**
 * A browser for all tests of a file. `open(t, emulator, options)` opens a page for the test `t`:
 *
 * - `route`: where, such as `#/devices`; default: the first page
 * - `screen`: one of `SCREENS`, or options of a Playwright context; default: light
 * - `allow`: patterns of what may go wrong in the page, for tests of just that
 * - `signedIn`: false leaves out the login where the emulator has an admin token
 *
 * When the test ends, the page must not have written an error to its console, thrown, broken its
 * own content security policy, or asked anybody but its emulator for anything.
 */
export function useBrowser() {
  const held = {};
  before(async () => {
    held.browser = await chromium.launch({
      executablePath: EXECUTABLE,
      // Debian's Chromium cannot make its sandbox as root, which is who runs this in CI.
      args: process.getuid?.() === 0 ? ['--no-sandbox'] : [],
    });
  });
  after(() => held.browser?.close());
  held.open = (t, emulator, options = {}) => openIn(held.browser, t, emulator, options);
  return held;
}

/** As `open` of `useBrowser`, in a browser of one's own. */
export async function openIn(browser, t, emulator, options) {
  const { route = '', screen = SCREENS.light, allow = [], signedIn = true } = options;
  const context = await browser.newContext({ reducedMotion: 'reduce', ...screen });
  context.setDefaultTimeout(LIMIT);
  await context.grantPermissions(['clipboard-read', 'clipboard-write']).catch(() => {});
  const troubles = [];
  const trouble = (text) => {
    if (!allow.some((pattern) => pattern.test(text))) troubles.push(text);
  };
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`content security policy: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  const page = await context.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') trouble(`console: ${message.text()} (${place(message)})`);
  });
  page.on('pageerror', (error) => trouble(`thrown: ${error.stack ?? error}`));
  page.on('request', (request) => {
    const url = request.url();
    const own = url.startsWith(`${emulator.origin}/`) || /^(data|blob|about):/.test(url);
    if (!own) trouble(`request to somebody else: ${url}`);
  });
  t.after(async () => {
    await context.close();
    if (troubles.length) throw new Error(`the page had trouble:\n${troubles.join('\n')}`);
  });

  if (emulator.adminToken && signedIn) {
    const url = `${emulator.origin}/_emulator/login`;
    const answer = await context.request.post(url, { data: { token: emulator.adminToken } });
    if (!answer.ok()) throw new Error(`login: ${answer.status()} ${await answer.text()}`);
  }
  page.troubles = troubles;
  await page.goto(`${emulator.origin}/${route}`);
  if (signedIn) await mounted(page);
  return page;
}

function place(message) {
  const { url, lineNumber } = message.location();
  return `${url}:${lineNumber}`;
}

/** Waits until the page of the current route stands. */
export async function mounted(page) {
  await page.locator('main :is(h1, h2)').first().waitFor();
  await page.waitForFunction(() => !document.querySelector('main[aria-busy="true"]'));
}

/** Goes to another page by its address, without loading anew. */
export async function goTo(page, route) {
  await page.evaluate((hash) => {
    location.hash = hash;
  }, route);
  await mounted(page);
}

/** The routes that the page's own navigation leads to. */
export function routes(page) {
  return page
    .locator('nav a[href^="#/"]')
    .evaluateAll((links) => [...new Set(links.map((link) => link.getAttribute('href')))]);
}

/** How much of the page's JavaScript heap is in use after a collection, in bytes. */
export async function heap(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  await session.detach();
  return usedSize;
}
