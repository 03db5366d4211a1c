// The shell: shows the page that the address names, and what is true of the whole hub.
//
// A page is a module in pages/: `export const title`, and `export function mount(root, params)`,
// which fills `root` and answers a function (or a promise of one) that ends everything it began.
// `params` is the address's query as a plain object. After an operation that changes the hub's
// clock a page says `document.dispatchEvent(new Event('clock-changed'))`.

import { h, replace } from './lib/html.js';
import { get, send, setHooks } from './lib/api.js';
import { place } from './lib/router.js';
import { failure, field, pageHead } from './lib/ui.js';
import { form } from './components/dialog.js';

const PAGES = ['overview', 'devices', 'device', 'telemetry', 'wire', 'auth', 'clock', 'events'];
const CLOCK_EVERY = 4000;
const main = document.getElementById('content');
const banner = document.getElementById('banner');
const clockLink = document.getElementById('hub-clock');
const themeButton = document.getElementById('theme');

let shown = null;
let unmount = null;
let first = true;

async function route() {
  const { page, params } = place();
  const known = PAGES.includes(page) ? page : null;
  const root = h('div', { class: `page page-${known ?? 'unknown'}` });
  const mine = {};
  shown = mine;
  await leave();
  for (const link of document.querySelectorAll('#nav a')) {
    const its = link.hash.slice(2);
    const here = its === page || (its === 'devices' && page === 'device');
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  // A heading, until the page has its own.
  const waiting = h('h1', { class: 'waiting' }, 'Loading…');
  replace(main, waiting, root);
  main.setAttribute('aria-busy', 'true');
  new MutationObserver((_, observer) => {
    observer.disconnect();
    waiting.remove();
  }).observe(root, { childList: true });
  const name = (title) => { document.title = `${title} · IoT Hub emulator`; };
  try {
    if (!known) throw new Error(`There is no page “${page}”.`);
    const module = await import(`./pages/${known}.js`);
    if (shown !== mine) return;
    name(typeof module.title === 'function' ? module.title(params) : module.title);
    const end = await module.mount(root, params);
    if (shown === mine) unmount = end;
    else end?.();
  } catch (error) {
    if (shown !== mine) return;
    console.error(error);
    if (!known) name('Not found');
    replace(root, pageHead(known ? 'This page could not be loaded' : 'No such page'), failure(error));
  }
  if (shown !== mine) return;
  main.removeAttribute('aria-busy');
  scrollTo(0, 0);
  if (!first) (root.querySelector('h1') ?? main).focus({ preventScroll: true });
  first = false;
}

async function leave() {
  const end = unmount;
  unmount = null;
  try {
    await end?.();
  } catch (error) {
    console.error(error);
  }
}

// --- The emulator is gone, and comes back ---

let isLost = false;
let asking = 0;

function lost() {
  if (isLost) return;
  isLost = true;
  banner.hidden = false;
  replace(banner, h('b', null, 'The emulator does not answer.'), ' What you see is what it said last. This page goes on when it is back.');
  clearTimeout(asking);
  asking = setTimeout(askAgain, 1000);
}

async function askAgain() {
  try {
    const response = await fetch('/', { cache: 'no-cache' });
    if (!response.ok) throw new Error(response.statusText);
    // Another version has other files.
    if (!(await response.text()).includes(new URL('.', import.meta.url).pathname)) location.reload();
  } catch {
    asking = setTimeout(askAgain, 1000);
    return;
  }
  isLost = false;
  banner.hidden = true;
  hubName();
  clock();
  route();
}

// --- The administrator's token ---

let login = null;

function unauthorized() {
  login ??= askForToken().finally(() => { login = null; });
  return login;
}

async function askForToken() {
  let done;
  while (!done) {
    done = await form({
      title: 'Log in', submit: 'Log in', cancel: 'Not now',
      body: [h('p', null, 'This emulator was started with --admin-token.'),
        field('Administrator’s token', h('input', { type: 'password', name: 'token', required: true, autocomplete: 'current-password' }))],
      onSubmit: async (data) => {
        await send('POST', '/login', { token: data.get('token') }).catch((error) => {
          throw error.status === 401 ? new Error('That is not the token.') : error;
        });
        return true;
      },
    });
    if (!done) await askedFor('Log in');
  }
  banner.hidden = true;
  hubName();
  clock();
}

/** The banner with a button; until it is pressed. */
function askedFor(label) {
  return new Promise((resolve) => {
    banner.hidden = false;
    replace(banner, 'This emulator shows nothing without its administrator’s token. ', h('button', { type: 'button', onclick: resolve }, label));
  });
}

// --- What is true of the whole hub ---

async function hubName() {
  const info = await get('/info').catch(() => null);
  if (info) document.getElementById('hub-name').textContent = info.hostname;
}

let clockTimer = 0;

async function clock() {
  clearTimeout(clockTimer);
  if (!document.hidden && !isLost) {
    try {
      face(await get('/clock'));
    } catch {
      // The banner tells.
    }
  }
  clockTimer = setTimeout(clock, CLOCK_EVERY);
}

function face({ now, frozen }) {
  const off = Math.abs(Date.parse(now) - Date.now()) > 2000;
  const time = new Date(now);
  const day = off && time.toDateString() !== new Date().toDateString() ? `${time.toLocaleDateString('sv')} ` : '';
  const text = `${day}${time.toLocaleTimeString('en-GB')}`;
  clockLink.hidden = false;
  clockLink.classList.toggle('frozen', frozen);
  clockLink.title = frozen ? 'The hub’s clock is frozen' : off ? 'The hub’s clock is set off from the system’s' : 'The hub’s clock';
  replace(clockLink, frozen ? h('b', null, 'Clock frozen ') : off ? h('b', null, 'Clock moved ') : null,
    frozen || off ? h('time', { dateTime: now }, text) : 'Clock running');
}

// --- Colours ---

const THEMES = ['auto', 'light', 'dark'];

function theme(next) {
  const dataset = document.documentElement.dataset;
  if (next) {
    if (next === 'auto') delete dataset.theme;
    else dataset.theme = next;
    try {
      if (next === 'auto') localStorage.removeItem('theme');
      else localStorage.setItem('theme', next);
    } catch {
      // For this page only, then.
    }
    document.dispatchEvent(new Event('theme'));
  }
  const now = dataset.theme ?? 'auto';
  themeButton.setAttribute('aria-label', `Colours: ${now === 'auto' ? 'as the system' : now}`);
  themeButton.title = themeButton.getAttribute('aria-label');
  return now;
}

themeButton.addEventListener('click', () => theme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]));
document.querySelector('.skip').addEventListener('click', (event) => {
  // Its hash is a place in the page, not a page.
  event.preventDefault();
  main.focus();
});
document.addEventListener('clock-changed', clock);
document.addEventListener('visibilitychange', () => { if (!document.hidden) clock(); });
addEventListener('hashchange', route);
setHooks({ unauthorized, lost, alive: () => {} });
theme();
route();
hubName();
clock();
