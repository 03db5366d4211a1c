// What devices send: live or from a position, with everything that a reader of events gets.

import { append, h, on, replace, uid } from '../lib/html.js';
import { lines } from '../lib/api.js';
import { stream } from '../lib/stream.js';
import { bytes as size, clockTime, number, timeNode } from '../lib/format.js';
import { encode, fromBase64, hexDump, utf8 } from '../lib/bytes.js';
import { badge, debounce, facts, failure, field, frame, pageHead } from '../lib/ui.js';
import { download } from '../lib/copy.js';
import { href, setParams } from '../lib/router.js';
import { lineChart } from '../components/chart.js';
import { copyButton } from '../components/copy-button.js';
import { jsonView } from '../components/json.js';
import { tabs } from '../components/tabs.js';
import { virtualList } from '../components/virtual-list.js';

export const title = 'Telemetry';

/** Events that are kept here, and the length of their bodies. */
const KEPT = 5000;
const KEPT_CHARS = 16_000_000;
/** What the server sends at most each second: more is not read by anybody. */
const SAMPLE = 500;
const PART = 1000;
const LINES = 6;
const POSITIONS = [['latest', 'Now on'], ['newest', 'Newest 1,000'], ['earliest', 'Earliest'], ['time', 'A time…'], ['cursor', 'A cursor…']];
const SOURCES = ['Telemetry', 'twinChangeEvents', 'deviceLifecycleEvents', 'deviceConnectionStateEvents', 'deviceJobLifecycleEvents', 'digitalTwinChangeEvents'];

export function mount(root, params) {
  let items = [];
  let shown = [];
  let chars = 0;
  let arrived = [];
  let letGo = 0;
  let skipped = 0;
  let last = null;
  let live = null;
  let reading = null;
  let state = '';
  let picked = null;
  let paused = false;
  let more = false;

  // --- Controls ---

  const option = (value, label, now) => h('option', { value, selected: value === now }, label);
  const known = POSITIONS.some(([value]) => value === params.from);
  const kind = params.from ? (known ? params.from : /^\d{4}-/.test(params.from) ? 'time' : 'cursor') : 'newest';
  const position = h('select', { onchange: () => { exact.hidden = !isExact(); if (!isExact() || exactInput.value) begin(); else exactInput.focus(); } },
    POSITIONS.map(([value, label]) => option(value, label, kind)));
  const exactInput = h('input', { class: 'mono', spellcheck: false, autocomplete: 'off', placeholder: '2026-01-31T12:00:00Z or 12.0.4.7', value: known ? '' : params.from ?? '', onchange: begin });
  const exact = field('Time or cursor', exactInput);
  const device = h('input', { value: params.device ?? '', placeholder: 'all', spellcheck: false, autocomplete: 'off', onchange: begin });
  const text = h('input', { type: 'search', value: params.q ?? '', placeholder: 'in body and properties', oninput: debounce(filter, 150) });
  const source = h('select', { onchange: filter }, option('', 'All', params.source), SOURCES.map((name) => option(name, name, params.source)));
  const paths = h('datalist', { id: uid('paths') });
  const path = h('input', { class: 'mono', value: params.path ?? '', placeholder: 'temperature', spellcheck: false, autocomplete: 'off', oninput: debounce(redrawChart, 250) });
  path.setAttribute('list', paths.id);
  const pause = h('button', { type: 'button', onclick: () => (paused ? resume() : stop()) }, 'Pause');
  const clear = h('button', { type: 'button', onclick: () => { drop(); draw(); } }, 'Clear');
  const save = h('button', { type: 'button', onclick: exportShown }, 'Export shown');
  const all = h('a', { class: 'button', download: 'events.jsonl' }, 'Export all');
  const isExact = () => position.value === 'time' || position.value === 'cursor';
  exact.hidden = !isExact();

  const status = h('p', { class: 'muted', role: 'status' });
  const problem = h('div', { class: 'problem' });
  const next = h('div', { class: 'note toolbar', hidden: true }, 'There is more after these.',
    h('button', { type: 'button', onclick: () => read(last, false) }, `Next ${number(PART)}`),
    h('button', { type: 'button', onclick: () => follow('latest') }, 'Go live'));
  const chartPlace = h('section', { class: 'card', 'aria-label': 'Chart', hidden: true });
  const detail = h('section', { class: 'card event-detail', 'aria-label': 'Event' });

  // --- The list ---

  const list = virtualList({
    label: 'Events, newest first',
    rowHeight: 32,
    rowAt: (index) => shown[shown.length - 1 - index],
    onActivate: (event) => { pick(event); if (innerWidth < 900) detail.scrollIntoView({ block: 'nearest' }); },
    rowClass: (event) => (event === picked ? 'selected' : ''),
    empty: 'Nothing yet. Send something, or begin earlier.',
    columns: [
      { label: 'Enqueued', width: '104px', class: 'mono', cell: (event) => clockTime(event.enqueuedTime) },
      { label: 'Device', width: 'minmax(100px, 1fr)', cell: (event) => who(event) },
      { label: 'Part.', width: '36px', narrow: false, class: 'num', cell: (event) => event.partition },
      { label: 'Offset', width: '84px', narrow: false, class: 'num', cell: (event) => event.offset },
      { label: 'Body', width: 'minmax(100px, 3fr)', class: 'mono', cell: (event) => [sourceOf(event) === 'Telemetry' ? null : [badge(sourceOf(event), 'info'), ' '], preview(event)] },
    ],
  });
  list.classList.add('fill');

  append(root,
    pageHead('Telemetry', '', pause, clear, save, all),
    h('div', { class: 'form telemetry-form' }, field('From', position), exact, field('Device', device), field('Text', text), field('Source', source), field('Chart of JSON path', path), paths),
    problem, status, chartPlace, next, h('div', { class: 'split main-side' }, list, detail));
  pick(null);

  // --- Reading ---

  async function begin() {
    end();
    drop();
    skipped = 0;
    letGo = 0;
    last = null;
    paused = false;
    remember();
    const from = isExact() ? exactInput.value.trim() : position.value;
    if (from === 'latest') return follow('latest');
    if (isExact() && !from) return draw();
    return read(from === 'newest' ? null : from, from === 'newest');
  }

  /** A part of what is stored; then on, live, if that was all. */
  async function read(from, newest) {
    end();
    next.hidden = true;
    const mine = new AbortController();
    reading = mine;
    state = 'Reading…';
    draw();
    try {
      const events = await lines(`/events?${query({ from, max: PART })}`, { signal: mine.signal });
      if (reading !== mine) return;
      take(events);
      more = !newest && events.length === PART;
      if (!more) {
        follow(last ?? (newest ? 'latest' : from));
      } else {
        state = 'Stopped';
        next.hidden = false;
        draw();
      }
    } catch (error) {
      if (mine.signal.aborted) return;
      state = '';
      replace(problem, failure(error));
      draw();
    }
  }

  function follow(from) {
    end();
    next.hidden = true;
    live = stream((id) => `/events?${query({ from: id ?? last ?? from, sample: SAMPLE })}`, {
      onData: (event) => {
        arrived.push(event);
        if (arrived.length > PART) flush();
        else soon();
      },
      onState: (name) => {
        state = { open: 'Live', connecting: 'Connecting…', waiting: 'Waiting for the emulator…', paused: 'Resting while nobody looks', closed: '' }[name];
        soon();
      },
      events: { skipped: (value) => { skipped += value.skipped; soon(); } },
    });
  }

  function end() {
    reading?.abort();
    reading = null;
    live?.close();
    live = null;
    replace(problem);
    flush();
  }

  function stop() {
    end();
    paused = true;
    state = 'Paused';
    draw();
  }

  function resume() {
    paused = false;
    follow(last ?? 'latest');
    draw();
  }

  function query(more) {
    const wanted = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...more, device: device.value.trim() })) {
      if (value !== null && value !== '') wanted.set(name, value);
    }
    return wanted;
  }

  const soon = frame(flush);

  function flush() {
    const events = arrived;
    arrived = [];
    if (events.length > 0) take(events);
    else draw();
  }

  function take(events) {
    const matching = [];
    for (const event of events) {
      if (event.skipped) {
        skipped += event.skipped;
        continue;
      }
      last = event.cursor;
      items.push(event);
      chars += event.body.length;
      if (matches(event)) matching.push(event);
    }
    shown.push(...matching);
    bound();
    list.count = shown.length;
    list.shift(matching.length);
    chartMore(matching);
    draw();
  }

  /** Lets the oldest go, a good many at a time. */
  function bound() {
    if (items.length <= KEPT && chars <= KEPT_CHARS) return;
    let go = 0;
    while (go < items.length - 1 && (items.length - go > KEPT * 0.9 || chars > KEPT_CHARS * 0.9)) {
      chars -= items[go].body.length;
      go += 1;
    }
    const gone = new Set(items.splice(0, go));
    shown = shown.filter((event) => !gone.has(event));
    letGo += go;
  }

  function drop() {
    items = [];
    shown = [];
    arrived = [];
    chars = 0;
    list.count = 0;
    redrawChart();
  }

  function draw() {
    pause.textContent = paused ? 'Resume' : 'Pause';
    pause.disabled = !paused && !live;
    save.disabled = shown.length === 0;
    all.href = `/_emulator/events?${query({ from: 'earliest' })}`;
    const parts = [state, `${number(shown.length)} shown${shown.length < items.length ? ` of ${number(items.length)}` : ''}`];
    if (letGo) parts.push(`${number(letGo)} older ones let go (this page keeps ${number(KEPT)})`);
    if (skipped) parts.push(`${number(skipped)} skipped (at most ${SAMPLE} a second are sent here)`);
    const line = parts.filter(Boolean).join(' · ');
    if (status.textContent !== line) status.textContent = line;
    list.count = shown.length;
    list.redraw();
  }

  // --- Filters ---

  function matches(event) {
    if (source.value && sourceOf(event) !== source.value) return false;
    const wanted = text.value.trim().toLowerCase();
    return !wanted || JSON.stringify(event).toLowerCase().includes(wanted) || event.body.toLowerCase().includes(wanted);
  }

  function filter() {
    shown = items.filter(matches);
    remember();
    redrawChart();
    draw();
  }

  function remember() {
    setParams({
      from: isExact() ? exactInput.value.trim() : position.value === 'newest' ? null : position.value,
      device: device.value.trim(), q: text.value.trim(), source: source.value, path: path.value.trim(),
    });
  }

  function exportShown() {
    download('events.jsonl', new Blob(shown.map((event) => `${JSON.stringify(event)}\n`), { type: 'application/x-ndjson' }));
  }

  // --- The chart of a path ---

  let chart = null;
  let lineKeys = [];

  function redrawChart() {
    remember();
    chart = null;
    lineKeys = [];
    chartPlace.hidden = !path.value.trim();
    if (!chartPlace.hidden) chartMore(shown);
  }

  function chartMore(events) {
    const steps = path.value.match(/[^.[\]]+/g);
    if (!steps) return;
    const points = [];
    let isNew = false;
    for (const event of events) {
      const value = at(jsonOf(event), steps);
      if (!Number.isFinite(value)) continue;
      const key = who(event);
      if (!lineKeys.includes(key)) {
        if (lineKeys.length === LINES) continue;
        lineKeys.push(key);
        isNew = true;
      }
      points.push({ at: Date.parse(event.enqueuedTime), values: { [key]: value } });
    }
    if (isNew) {
      // A line more: drawn anew from what is here.
      chart = lineChart({
        label: path.value, series: lineKeys.map((key) => ({ key, label: key })), window: null, capacity: 2000, join: true, zero: false,
        format: (value) => number(value), height: 150, area: lineKeys.length === 1,
      });
      const keys = lineKeys;
      chart.set(shown.flatMap((event) => {
        const value = at(jsonOf(event), steps);
        return Number.isFinite(value) && keys.includes(who(event)) ? [{ at: Date.parse(event.enqueuedTime), values: { [who(event)]: value } }] : [];
      }));
      replace(chartPlace, chart);
    } else if (chart) {
      for (const point of points) chart.push(point.at, point.values);
    } else {
      replace(chartPlace, h('p', { class: 'muted' }, `No event here has a number at “${path.value}”.`));
    }
  }

  // --- One event ---

  function pick(event) {
    picked = event;
    list.redraw();
    if (!event && detail.contains(document.activeElement)) list.focus({ preventScroll: true });
    detail.hidden = !event;
    if (!event) return;
    const json = jsonOf(event);
    const raw = rawOf(event);
    suggest(json);
    const table = (object) => facts(Object.entries(object ?? {}).map(([name, value]) => [name, h('span', { class: 'mono' }, typeof value === 'string' ? value : JSON.stringify(value))]));
    const section = (name, object) => (Object.keys(object ?? {}).length ? [h('h3', null, name), table(object)] : null);
    replace(detail,
      h('header', null, h('h2', null, h('a', { href: href('device', { id: event.annotations['iothub-connection-device-id'] }) }, who(event))),
        h('div', { class: 'toolbar' }, copyButton(() => JSON.stringify(event, null, 2), 'Copy', 'event'),
          h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close', onclick: () => pick(null) }, '×'))),
      facts([['Source', sourceOf(event)], ['Enqueued', timeNode(event.enqueuedTime, `${event.enqueuedTime}`)],
        ['Partition', `${event.partition}, sequence number ${number(event.sequenceNumber)}, offset ${event.offset}`], ['Size', size(raw.length)], ['Cursor after', h('code', null, event.cursor)]]),
      tabs({
        label: 'Event',
        items: [
          { id: 'body', label: 'Body', panel: () => (json !== undefined ? jsonView(json, { open: 3 }) : h('pre', { class: 'wrap', tabIndex: 0 }, event.bodyEncoding === 'base64' ? hexDump(raw, { width: 8 }) : event.body || '(empty)')) },
          { id: 'raw', label: 'Raw bytes', panel: () => h('pre', { class: 'hex', tabIndex: 0, 'aria-label': 'Bytes' }, hexDump(raw, { width: 8, limit: 8192 }) || '(empty)') },
          { id: 'properties', label: 'Properties', panel: () => h('div', { class: 'stack' }, section('Application', event.applicationProperties), section('System', event.properties), section('Annotations', event.annotations)) },
        ],
      }));
  }

  function suggest(json) {
    const found = [];
    const walk = (value, name) => {
      if (found.length >= 50) return;
      if (typeof value === 'number') found.push(name);
      else if (value && typeof value === 'object') for (const [key, child] of Object.entries(value)) walk(child, name ? `${name}.${key}` : key);
    };
    walk(json, '');
    replace(paths, found.map((name) => h('option', { value: name })));
  }

  const ended = new AbortController();
  on(document, 'keydown', (event) => {
    if (event.key === 'Escape' && picked && !document.querySelector('dialog[open]')) pick(null);
  }, ended.signal);
  begin();
  return () => {
    ended.abort();
    reading?.abort();
    live?.close();
  };
}

function who(event) {
  const annotations = event.annotations;
  const module = annotations['iothub-connection-module-id'];
  return `${annotations['iothub-connection-device-id'] ?? '–'}${module ? `/${module}` : ''}`;
}

function sourceOf(event) {
  return event.annotations['iothub-message-source'] ?? '–';
}

function preview(event) {
  if (event.bodyEncoding !== 'base64') return event.body.slice(0, 200) || h('span', { class: 'muted' }, '(empty)');
  const start = fromBase64(event.body.slice(0, 32));
  return Array.from(start, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

function rawOf(event) {
  return event.bodyEncoding === 'base64' ? fromBase64(event.body) : encode(event.body);
}

/** The body as JSON, or undefined; it is parsed once. */
function jsonOf(event) {
  if (!parsed.has(event)) {
    let value;
    try {
      value = JSON.parse(event.bodyEncoding === 'base64' ? utf8(fromBase64(event.body)) ?? '' : event.body);
    } catch {
      value = undefined;
    }
    parsed.set(event, value);
  }
  return parsed.get(event);
}

const parsed = new WeakMap();

function at(value, steps) {
  return steps.reduce((inside, step) => (inside && typeof inside === 'object' ? inside[step] : undefined), value);
}
