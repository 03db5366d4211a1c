// The figures of emulator/docs/benchmarks.md that a page loads by: how soon it is painted, and how
// much it fetches. Each load is cold: a browser's profile of its own, with nothing kept.

import { chromium } from 'playwright-core';

import { EXECUTABLE, SCREENS, mounted, openIn, routes } from './lib/browser.js';
import { Emulator } from './lib/emulator.js';
import { sampleHub, sampleTelemetry } from './lib/sample.js';

const LOADS = 5;
/** A line of text from the same server: what the browser itself and the machine need. */
const PLAIN = '/_emulator/health';
/** How long the data is counted that a page asks for. */
const SECOND = 1000;

const endings = [];
const t = { after: (end) => endings.unshift(end) };
const emulator = await new Emulator({ args: ['--in-memory', '--seed', '1', '--log', 'warn', '--routes-dir', 'routed'] }).start();
t.after(() => emulator.stop());
const browser = await chromium.launch({ executablePath: EXECUTABLE, args: ['--no-sandbox'] });
t.after(() => browser.close());

try {
  t.after(sampleTelemetry(await sampleHub(t, emulator)));
  const first = await openIn(browser, t, emulator, {});
  const places = [...await routes(first), '#/device?id=thermostat-1&tab=twin'];
  await first.context().close();

  const loads = [];
  const plain = [];
  for (let load = 0; load < LOADS; load += 1) {
    plain.push(await visit([PLAIN]));
    loads.push(await visit([places[0]]));
  }
  console.log(`| ${LOADS} cold loads, in turn | first contentful paint | processor time of the page's main thread |`);
  console.log('| --- | --- | --- |');
  for (const [name, all] of [[places[0], loads], [PLAIN, plain]]) {
    console.log(`| \`${name}\` | ${spread(all.map(({ paint }) => paint))} | ${spread(all.map(({ thread }) => thread))} |`);
  }

  console.log('\n| first visit | files | data in the first second |');
  console.log('| --- | --- | --- |');
  for (const place of places) {
    const { files, bytes, data } = await visit([place]);
    console.log(`| \`${place}\` | ${files}, ${kibi(bytes)} | ${kibi(data)} |`);
  }
  const { files, bytes } = await visit(places);
  console.log(`| all, one after the other | ${files}, ${kibi(bytes)} | |`);
} finally {
  for (const end of endings) await end();
}

/** Goes to these places, in a browser that has never been there. */
async function visit(places) {
  const context = await browser.newContext(SCREENS.light);
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  await devtools.send('Network.enable');
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' });
  const own = new Map();
  const seen = { files: 0, bytes: 0, data: 0 };
  devtools.on('Network.requestWillBeSent', ({ requestId, request }) => own.set(requestId, new URL(request.url).pathname));
  // As it comes over the wire: compressed, streams too; what a stream has sent is not yet finished.
  devtools.on('Network.responseReceived', ({ requestId, response }) => {
    if (isFile(own.get(requestId))) seen.files += 1;
    count(requestId, response.encodedDataLength);
  });
  devtools.on('Network.dataReceived', ({ requestId, encodedDataLength }) => count(requestId, encodedDataLength));
  const count = (requestId, bytes) => {
    if (isFile(own.get(requestId))) seen.bytes += bytes;
    else seen.data += bytes;
  };
  const isPage = places[0] !== PLAIN;
  await page.goto(new URL(places[0], emulator.origin).href);
  if (isPage) await mounted(page);
  const thread = await threadTime(devtools);
  if (isPage) await page.waitForTimeout(SECOND);
  const paint = await firstPaint(page);
  const data = { ...seen };
  for (const place of places.slice(1)) {
    await page.evaluate((hash) => { location.hash = hash; }, place);
    await mounted(page);
  }
  await context.close();
  return { paint, thread, ...data, files: seen.files, bytes: seen.bytes };
}

async function firstPaint(page) {
  const entry = await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime);
  return entry.jsonValue();
}

/** Of the thread that parses, lays out and runs scripts: in milliseconds, whoever else is at work. */
async function threadTime(devtools) {
  const { metrics } = await devtools.send('Performance.getMetrics');
  return metrics.find(({ name }) => name === 'ThreadTime').value * 1000;
}

/** The median, and from where to where. */
function spread(values) {
  const [least, middle, most] = [0, 0.5, 1].map((share) => values.sort((a, b) => a - b)[Math.floor((values.length - 1) * share)]);
  return `${middle.toFixed(0)} ms (${least.toFixed(0)} to ${most.toFixed(0)})`;
}

function isFile(path) {
  return path === '/' || path?.startsWith('/_emulator/ui/');
}

function kibi(bytes) {
  return `${(bytes / 1024).toFixed(1)} KiB`;
}
