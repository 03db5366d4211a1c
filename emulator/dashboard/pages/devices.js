// Devices: all of them, or those that a filter or query finds; what can be done to one or many.

import { get, isAbort, send } from '../lib/api.js';
import { copy } from '../lib/copy.js';
import { number } from '../lib/format.js';
import { h, replace } from '../lib/html.js';
import { navigate, setParams } from '../lib/router.js';
import { stream } from '../lib/stream.js';
import { badge, busy, debounce, failure, field, pageHead } from '../lib/ui.js';
import { toast } from '../components/toast.js';
import { virtualList } from '../components/virtual-list.js';
import { deleteAll, setStatus } from './device/bulk.js';
import { AUTHENTICATION, Client, connectionString, host, identityOf } from './device/client.js';
import { addDevice, cloneDevice } from './device/create.js';
import { addMany, onMany } from './device/many.js';
import { later, presence, readClock, when } from './device/parts.js';
import { queryBox } from './device/query.js';

export const title = 'Devices';

/** Rows are asked for again that often, and after a notice about one of them. */
const REFRESH = 5000;
const AFTER_NOTICE = 700;
/** A list up to here is made anew by itself when devices come and go. */
const SMALL = 20_000;
/** So many connection strings at most are copied at once. */
const STRINGS = 1000;
/** As many rows as a view gives at a time. */
const PAGE = 500;

/** Notices that change what a row shows. */
const EVENTS = 'connected,disconnected,c2dSent,c2dEnded,identityChanged';

export async function mount(root, params) {
  let view = { count: 0 };
  let wish = {};
  let finding;
  let known = new Set();
  let anchor = null;
  let withShift = false;
  const selection = new Selection();

  const nothing = h('p', null, 'Looking…');
  let list = listOf(deviceList());
  const head = h('p', { class: 'lead', role: 'status' });
  const told = h('div', { class: 'dv-told' });
  const stale = h('div', { class: 'note toolbar', hidden: true }, 'Devices have come or gone.',
    h('button', { type: 'button', onclick: () => find(wish) }, 'Look again'));
  const bar = h('div', { class: 'toolbar note', hidden: true, role: 'region', 'aria-label': 'Selection' });
  const filter = h('input', {
    type: 'search', placeholder: 'Part of an id', value: params.filter ?? '', autocomplete: 'off',
    oninput: debounce(() => find({ filter: filter.value }), 150),
    onkeydown: (event) => { if (event.key === 'ArrowDown') list.querySelector('.vl-scroller').focus(); },
  });
  const query = queryBox({ text: params.q, run: (text) => find(text ? { query: text } : {}) });
  const asks = h('button', { type: 'button', 'aria-expanded': 'false', onclick: () => openQuery() }, 'Query');
  const more = (label, work, look = '') => {
    const button = h('button', { type: 'button', class: look, onclick: () => busy(button, work) }, label);
    return button;
  };

  const top = pageHead('Devices', null,
    more('Add many…', async () => { if (await addMany()) find(wish); }),
    more('Add device…', async () => { if (await addDevice()) find(wish); }, 'primary'));
  top.firstChild.append(head);
  root.append(top,
    h('div', { class: 'toolbar dv-ask' }, field('Filter', filter), asks),
    query.node, told, stale, bar, list);
  openQuery(Boolean(params.q));

  // --- What is listed ---

  function openQuery(open = query.node.hidden) {
    query.node.hidden = !open;
    filter.disabled = open;
    asks.setAttribute('aria-expanded', String(open));
    if (open) query.focus();
    else if (wish.query) find({ filter: filter.value });
  }

  /** Makes a view of what is wished for. */
  async function find(next) {
    const isOther = JSON.stringify(next) !== JSON.stringify(wish);
    finding?.abort();
    const mine = finding = new AbortController();
    try {
      const found = await send('POST', '/views', next, {}, mine);
      const isSameKind = found.of === view.of && String(found.columns) === String(view.columns);
      wish = next;
      view = found;
      if (isOther) choose(() => selection.clear());
      if (!isSameKind) {
        const before = list;
        list = listOf(found.of === 'rows' ? rowList(found.columns) : deviceList());
        before.replaceWith(list);
      }
      list.count = found.count;
      list.refresh();
      if (isOther) list.show(0);
      query.refused(null);
      replace(told);
      stale.hidden = true;
      nothing.textContent = next.filter || next.query ? 'Nothing is like that. Ask for others, or add a device.'
        : 'There are no devices yet. Add one, or as many as you like.';
      head.textContent = `${number(found.count)} ${found.of}, found in ${found.elapsed_ms.toFixed(1)} ms`
        + `${found.left_out ? `; ${number(found.left_out)} more are not shown` : ''}`;
      setParams({ q: next.query, filter: next.filter });
    } catch (refused) {
      if (isAbort(refused) || mine.signal.aborted) return;
      if (!view.id) nothing.textContent = 'Nothing has been found yet.';
      if (next.query) query.refused(refused);
      else replace(told, failure(refused));
    }
  }

  async function rowsOf(offset, count, signal) {
    const path = () => `/views/${view.id}?offset=${offset}&count=${count}`;
    try {
      return (await get(path(), { signal })).rows;
    } catch (refused) {
      if (refused.status !== 404) throw refused;
      // Views are kept for a while only.
      await find(wish);
      return (await get(path(), { signal })).rows;
    }
  }

  async function fetchRows(offset, count, signal) {
    const rows = await rowsOf(offset, count, signal);
    if (known.size > 5000) known = new Set();
    for (const row of rows) known.add(row.deviceId);
    return rows;
  }

  function listOf(options) {
    const made = virtualList(options);
    made.classList.add('fill');
    made.addEventListener('keydown', onkeydown, true);
    made.addEventListener('click', (event) => { withShift = event.shiftKey; }, true);
    return made;
  }

  function common() {
    return {
      label: 'Devices',
      fetch: fetchRows,
      onError: (refused) => { if (!isAbort(refused)) replace(told, failure(refused)); },
      empty: nothing,
    };
  }

  function deviceList() {
    const live = (cell) => (row) => (row.gone ? '' : cell(row));
    return {
      ...common(),
      rowClass: (row) => (selection.has(row.deviceId) ? 'selected' : ''),
      onActivate: (row) => !row.gone && navigate('device', { id: row.deviceId, module: row.moduleId }),
      onToggle: toggle,
      columns: [
        { label: 'Selected', width: '20px', head: everyone(), cell: checkbox },
        { label: 'Device', width: 'minmax(9rem, 3fr)', cell: name },
        { label: 'Status', width: '90px', narrow: false, cell: live((row) => row.status
          && badge(row.status, row.status === 'enabled' ? 'none' : 'warn')) },
        { label: 'Connection', width: '104px',
          cell: live((row) => presence(row.connectionState, row.connection?.protocol)) },
        { label: 'Last active', width: '120px', narrow: false, cell: live((row) => when(row.lastActivityTime)) },
        { label: 'Authentication', width: '130px', narrow: false,
          cell: live((row) => AUTHENTICATION[row.authentication] ?? row.authentication) },
        { label: 'Waiting', width: '64px', class: 'num', narrow: false,
          cell: live((row) => number(row.cloudToDeviceMessageCount)) },
        { label: 'Edge', width: '56px', narrow: false, cell: live((row) => row.edge && badge('edge', 'info')) },
        { label: 'Actions', width: '150px', narrow: false, cell: live(actions) },
      ],
    };
  }

  function rowList(columns) {
    return {
      ...common(),
      label: 'Rows',
      columns: columns.map((label) => ({ label, class: 'mono', cell: (row) => text(row[label]) })),
    };
  }

  function name(row) {
    const client = new Client(row.deviceId, row.moduleId);
    if (row.gone) return [h('s', { class: 'muted' }, client.name), ' deleted'];
    return h('a', { href: client.href, tabIndex: -1, title: client.name }, client.name);
  }

  function actions(row) {
    const client = new Client(row.deviceId, row.moduleId);
    const button = (label, what, work) => h('button', {
      type: 'button', class: 'quiet', tabIndex: -1, 'aria-label': `${what} ${client.name}`,
      onclick: () => work().catch((refused) => toast(refused.message, { tone: 'bad' })),
    }, label);
    return [
      button('String', 'Copy the connection string of', async () => {
        const string = connectionString(await host(), await identityOf(client));
        if (!string) throw new Error(`${client.name} has no connection string.`);
        toast(await copy(string) ? 'Copied the connection string.' : string, { tone: 'ok' });
      }),
      !row.moduleId && button('Clone', 'Clone', async () => {
        if (await cloneDevice(row.deviceId)) find(wish);
      })];
  }

  // --- What is selected ---

  function checkbox(row, index) {
    if (row.moduleId || row.gone) return null;
    return h('input', {
      type: 'checkbox', tabIndex: -1, checked: selection.has(row.deviceId),
      'aria-label': `Select ${row.deviceId}`, onclick: () => toggle(row, index),
    });
  }

  function everyone() {
    return h('input', {
      type: 'checkbox', 'aria-label': 'Select all that is listed', class: 'dv-all',
      onclick: (event) => choose(() => (event.target.checked ? selection.selectAll() : selection.clear())),
    });
  }

  async function toggle(row, index) {
    if (row.moduleId || row.gone) return;
    const [from, to] = [Math.min(anchor ?? index, index), Math.max(anchor ?? index, index)];
    if (withShift && anchor !== null && to - from < 10_000) {
      for (let at = from; at <= to; at += PAGE) {
        const rows = await rowsOf(at, Math.min(PAGE, to - at + 1));
        for (const one of rows) if (!one.gone) selection.add(one.deviceId);
      }
      choose(() => {});
    } else {
      choose(() => selection.toggle(row.deviceId));
    }
    anchor = index;
  }

  function choose(change) {
    change();
    const count = selection.count(view.count);
    bar.hidden = count === 0;
    const all = list.querySelector('.dv-all');
    if (all) {
      all.checked = count > 0 && count === view.count;
      all.indeterminate = count > 0 && count < view.count;
    }
    replace(bar, h('b', { role: 'status' }, `${number(count)} selected`),
      count < view.count && h('button', { type: 'button', onclick: () => choose(() => selection.selectAll()) },
        `Select all ${number(view.count)}`),
      more('Enable', () => many('Enable', (ids) => setStatus(ids, 'enabled'))),
      more('Disable', () => many('Disable', (ids) => setStatus(ids, 'disabled'))),
      more('Delete', () => many('Delete', deleteAll, true), 'danger'),
      count <= STRINGS && more('Copy connection strings', copyStrings),
      h('button', { type: 'button', class: 'quiet end', onclick: () => choose(() => selection.clear()) }, 'Clear'));
    list.redraw();
  }

  async function* chosen() {
    if (!selection.isAll) return yield* selection.ids;
    for (let at = 0; at < view.count; at += PAGE) {
      for (const row of await rowsOf(at, PAGE)) {
        if (!row.gone && selection.has(row.deviceId)) yield row.deviceId;
      }
    }
  }

  async function many(word, work, danger = false) {
    const done = await onMany({ word, work, danger, ids: chosen(), count: selection.count(view.count) });
    if (!done) return;
    if (danger) {
      choose(() => selection.clear());
      await find(wish);
    } else {
      list.refresh();
    }
  }

  async function copyStrings() {
    const lines = [];
    for await (const id of chosen()) {
      lines.push(connectionString(await host(), await identityOf(new Client(id))));
    }
    const strings = lines.filter(Boolean);
    const done = await copy(strings.join('\n'));
    toast(done ? `Copied ${strings.length} connection strings.` : 'The browser does not let this page copy.',
      { tone: done ? 'ok' : 'bad' });
  }

  function onkeydown(event) {
    withShift = event.shiftKey;
    if (view.of !== 'devices') return;
    if (event.key === 'a' && (event.ctrlKey || event.metaKey)) choose(() => selection.selectAll());
    else if (event.key === 'Escape') choose(() => selection.clear());
    else if (event.key === 'Delete' && selection.count(view.count) > 0) many('Delete', deleteAll, true);
    else return;
    event.preventDefault();
  }

  // --- What happens meanwhile ---

  const refreshSoon = later(() => { if (!document.hidden) list.refresh(); }, AFTER_NOTICE);
  const changed = later(() => {
    if (view.count <= SMALL && !selection.isAll) find(wish);
    else stale.hidden = false;
  }, AFTER_NOTICE);

  const live = stream((last) => `/timeline?kinds=notice&events=${EVENTS}&after=${last ?? 'latest'}`, {
    onData: ({ event, client, change }) => {
      if (event === 'identityChanged' && change !== 'updated') changed();
      else if (known.has(client?.split('/')[0])) refreshSoon();
    },
    onMissed: refreshSoon,
  });
  const tick = setInterval(() => { if (!document.hidden && view.of !== 'rows') list.refresh(); }, REFRESH);

  await readClock().catch(() => {});
  await find(params.q ? { query: params.q } : { filter: params.filter ?? '' });
  return () => {
    live.close();
    finding?.abort();
    clearInterval(tick);
    refreshSoon.stop();
    changed.stop();
  };
}

/** Which devices are meant: these, or all of the view but these. */
class Selection {
  ids = new Set();
  isAll = false;

  has(id) {
    return this.ids.has(id) !== this.isAll;
  }

  toggle(id) {
    if (!this.ids.delete(id)) this.ids.add(id);
  }

  add(id) {
    if (!this.has(id)) this.toggle(id);
  }

  selectAll() {
    this.ids.clear();
    this.isAll = true;
  }

  clear() {
    this.ids.clear();
    this.isAll = false;
  }

  count(of) {
    return this.isAll ? of - this.ids.size : this.ids.size;
  }
}

const text = (value) => (value === undefined ? h('span', { class: 'muted' }, '–')
  : typeof value === 'string' ? value : JSON.stringify(value));
