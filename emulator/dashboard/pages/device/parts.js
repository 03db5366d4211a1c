// What the tabs of a device have in common.

import { get } from '../../lib/api.js';
import { ago, isNever, timeNode } from '../../lib/format.js';
import { h, replace } from '../../lib/html.js';
import { badge, empty } from '../../lib/ui.js';

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
.dv-told:empty { display: none }
.dv-ask { align-items: end }
.dv-ask .field { flex: 1 1 200px; max-width: 420px }
.dv-wrong { max-height: none }
.dv-wrong mark { background: none; color: var(--bad); text-decoration: underline wavy }
.dv-wrong b { color: var(--bad) }
.dv-progress progress { flex: 1 1 160px; accent-color: var(--accent) }
.dv-property { display: grid; grid-template-columns: 1fr 1fr auto; gap: 8px; margin-bottom: 8px }
.dv-spark { width: 200px; height: 32px; color: var(--s1) }
.dv-changes { padding: 0; list-style: none; display: grid; gap: 8px; max-height: 50vh; overflow: auto }
.dv-changes ul { padding-left: 16px; overflow-wrap: anywhere }
.dv-changes ins { color: var(--ok); text-decoration: none }
.dv-changes del { color: var(--bad) }
`);
document.adoptedStyleSheets.push(sheet);

let ahead = 0;

/** Asks how far the hub's clock is off this machine's. */
export async function readClock() {
  const { now } = await get('/clock');
  ahead = Date.parse(now) - Date.now();
}

/** The hub's time. */
export const hubNow = () => Date.now() + ahead;

/** A time of the hub's, as how long ago; exactly on demand. */
export function when(iso) {
  if (isNever(iso)) return h('span', { class: 'muted' }, 'never');
  const node = timeNode(iso, ago(iso, hubNow()));
  node.className = 'dv-ago';
  return node;
}

// What is shown grows old.
setInterval(() => {
  if (document.hidden) return;
  for (const node of document.querySelectorAll('.dv-ago')) node.textContent = ago(node.dateTime, hubNow());
}, 1000);

/** JSON for people. */
export const pretty = (value) => JSON.stringify(value, null, 2);

/** JSON in one short line, whole on demand. */
export function brief(value) {
  if (value === undefined || value === null || value === '') return null;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return h('code', { title: text.slice(0, 2000) }, shorten(text, 48));
}

/** No longer than that. */
export const shorten = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

/** A table that scrolls by itself where the page is narrow. */
export function table(caption, columns, rows) {
  return h('div', { class: 'table-wrap', tabIndex: 0, role: 'region', 'aria-label': caption },
    h('table', null,
      h('caption', { class: 'off-screen' }, caption),
      h('thead', null, h('tr', null, columns.map((column) => h('th', { scope: 'col' },
      column || h('span', { class: 'off-screen' }, 'Actions'))))),
      h('tbody', null, rows.map((cells) => h('tr', null, cells.map((cell) => h('td', null, cell)))))));
}

/** A table in the place of what `node` holds, or a word that there is nothing. */
export function showTable(node, caption, columns, rows, nothing) {
  replace(node, rows.length ? table(caption, columns, rows) : empty(nothing));
}

/** A choice among several. */
export function select(props, choices) {
  return h('select', props, choices.map(([value, label, selected]) =>
    h('option', { value, selected: Boolean(selected) }, label ?? value)));
}

/** A yes or no with its label behind it. */
export function check(label, props) {
  return h('label', { class: 'check' }, h('input', { type: 'checkbox', ...props }), ` ${label}`);
}

/** Whether a device is connected. */
export function presence(state, protocol) {
  const here = state === 'Connected';
  return badge(here ? protocol ?? 'connected' : 'offline', here ? 'ok' : 'none');
}

/** Does `work` a little later, once for all that ask meanwhile; `stop()` calls it off. */
export function later(work, ms) {
  let timer = 0;
  const ask = () => {
    timer ||= setTimeout(() => {
      timer = 0;
      work();
    }, ms);
  };
  ask.stop = () => clearTimeout(timer);
  return ask;
}
