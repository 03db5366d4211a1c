// Wire: every exchange with a device, decoded, on one timeline with what the hub made of it.

import { h, on, replace } from '../lib/html.js';
import { get, send } from '../lib/api.js';
import { stream } from '../lib/stream.js';
import { bytes as size, clockTime, latency, number, timeNode } from '../lib/format.js';
import { hexDump } from '../lib/bytes.js';
import { href, setParams } from '../lib/router.js';
import { badge, card, debounce, facts, failure, field, frame, pageHead } from '../lib/ui.js';
import { jsonView } from '../components/json.js';
import { copyButton } from '../components/copy-button.js';
import { toast } from '../components/toast.js';
import { virtualList } from '../components/virtual-list.js';

export const title = 'Wire';

/** Lines that are kept; the oldest leave. */
const KEPT = 5000;
/** Bytes of a packet that the page can show. */
const HEX = 2048;
const SHOWN = [
  ['all', 'Everything'], ['wire', 'Wire'], ['mqtt', 'MQTT'], ['amqp', 'AMQP'], ['http', 'HTTP'],
  ['notice', 'Hub'], ['operation', 'Operations'], ['refused', 'Refusals'],
];

export function mount(root, params) {
  let lines = [];
  let shown = [];
  let waiting = [];
  let selected = null;
  let paused = false;
  let missed = 0;
  let live = null;
  let first = true;

  const device = h('input', { type: 'search', value: params.device ?? '', placeholder: 'all', spellcheck: false, autocomplete: 'off', oninput: debounce(changeDevice, 400) });
  const kind = h('select', { onchange: refilter }, SHOWN.map(([value, text]) => h('option', { value, selected: value === params.kind }, text)));
  const text = h('input', { type: 'search', value: params.text ?? '', placeholder: 'summary or content', spellcheck: false, oninput: debounce(refilter, 200) });
  const pings = h('input', { type: 'checkbox', onchange: refilter });
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', onclick: togglePause }, 'Pause');
  const clear = h('button', { type: 'button', onclick: clearAll }, 'Clear');
  const record = h('button', { type: 'button', 'aria-pressed': 'false', title: 'Keep what goes over the wire while nobody looks', onclick: toggleRecording }, 'Record');
  const pcap = h('a', { class: 'button', download: 'iothub.pcapng' }, 'Wireshark file');
  const jsonl = h('a', { class: 'button', download: 'timeline.jsonl' }, 'JSON lines');
  const status = h('p', { class: 'muted', role: 'status' }, 'Connecting…');
  const problem = h('div', { class: 'problem' });
  const detail = h('div', { class: 'stack', role: 'region', 'aria-label': 'Line', hidden: true });
  const list = virtualList({
    label: 'What happened, newest last',
    rowHeight: 30,
    rowAt: (index) => shown[index],
    columns: [
      { label: 'Time', width: '104px', class: 'mono', cell: (line) => clockTime(line.at) },
      { label: 'Device', width: 'minmax(4rem, 6.5rem)', narrow: false, cell: (line) => line.client ?? '' },
      { label: 'Where', width: '84px', narrow: false, cell: where },
      { label: 'What', width: 'minmax(10rem, 1fr)', cell: (line) => [line.kind === 'wire' && h('span', { class: 'narrow-only' }, line.direction === 'in' ? '→ ' : '← '), line.brief] },
    ],
    rowClass: (line) => (line === selected ? 'selected' : ''),
    onActivate: (line) => select(line),
    empty: 'Nothing has happened yet. Connect a device, or send it something.',
  });
  list.classList.add('fill');

  const draw = frame(() => {
    const atEnd = first || isAtEnd();
    if (!paused && waiting.length) {
      for (const line of waiting) if (passes(line)) shown.push(line);
      lines.push(...waiting);
      waiting = [];
      if (lines.length > KEPT + 500) {
        lines = lines.slice(-KEPT);
        const oldest = lines[0].n;
        shown = shown.filter((line) => line.n >= oldest);
      }
    }
    list.count = shown.length;
    list.redraw();
    // Who looks at a line is not taken away from it.
    if (atEnd && !selected && !list.pressed && shown.length) list.show(shown.length - 1);
    first = shown.length === 0;
    tell();
  });

  function isAtEnd() {
    const scroller = list.querySelector('.vl-scroller');
    return scroller.scrollTop + scroller.clientHeight > scroller.scrollHeight - 60;
  }

  replace(root,
    pageHead('Wire', 'What goes over every connection, decoded, and what the hub makes of it.', record, pcap, jsonl),
    h('div', { class: 'toolbar' },
      field('Device', device), field('Show', kind), field('Containing', text),
      h('label', { class: 'check' }, pings, 'Signs of life'),
      h('div', { class: 'toolbar end' }, pause, clear)),
    problem, status,
    h('div', { class: 'split main-side' }, list, detail));
  select(null);
  connect();
  recording();

  function connect() {
    live?.close();
    lines = [];
    shown = [];
    waiting = [];
    missed = 0;
    first = true;
    replace(problem);
    const query = new URLSearchParams({ kinds: 'wire,notice,operation', hex: HEX });
    if (device.value.trim()) query.set('client', device.value.trim());
    pcap.href = `/_emulator/timeline?${with_(query, { format: 'pcapng', kinds: 'wire' })}`;
    jsonl.href = `/_emulator/timeline?${with_(query, { hex: 65536 })}`;
    live = stream((last) => `/timeline?${with_(query, last ? { after: last } : { max: KEPT })}`, {
      onData: take,
      onMissed: (count) => { missed += count; draw(); },
      onState: (state) => { status.dataset.state = state; tell(); },
    });
    // A stream cannot say why it is refused.
    get(`/timeline?${with_(query, { after: 'latest' })}`).catch((error) => {
      if (error.status === 400) replace(problem, failure(error));
    });
    draw();
  }

  let n = 0;
  function take(line) {
    n += 1;
    line.n = n;
    line.brief = brief(line);
    waiting.push(line);
    if (waiting.length > KEPT) {
      missed += 1;
      waiting.shift();
    }
    draw();
  }

  function tell() {
    const state = { connecting: 'Connecting…', waiting: 'The connection is lost; trying again…', paused: 'Resting while nobody looks.', closed: '' }[status.dataset.state];
    const parts = [state || `${number(shown.length)} of ${number(lines.length)} lines`];
    if (paused) parts.push(`paused, ${number(waiting.length)} wait`);
    if (missed) parts.push(`${number(missed)} missed: more happened than this page could show`);
    const said = parts.join(' · ');
    if (status.textContent !== said) status.textContent = said;
  }

  function passes(line) {
    const wanted = kind.value;
    if (!pings.checked && /^(PINGREQ|PINGRESP|empty frame)/.test(line.summary ?? '')) return false;
    if (wanted === 'refused' ? !isBad(line) : wanted !== 'all' && line.kind !== wanted && !(line.kind === 'wire' && line.protocol === wanted)) return false;
    const needle = text.value.trim().toLowerCase();
    if (!needle) return true;
    line.text ??= JSON.stringify({ ...line, hex: undefined }).toLowerCase();
    return line.text.includes(needle);
  }

  function refilter() {
    setParams({ kind: kind.value === 'all' ? null : kind.value, text: text.value || null });
    shown = lines.filter(passes);
    list.count = shown.length;
    list.redraw();
    const at = shown.indexOf(selected);
    list.show(at < 0 ? shown.length - 1 : at);
    tell();
  }

  function changeDevice() {
    setParams({ device: device.value.trim() || null });
    connect();
  }

  function togglePause() {
    paused = !paused;
    pause.setAttribute('aria-pressed', paused);
    pause.textContent = paused ? 'Go on' : 'Pause';
    draw();
  }

  function clearAll() {
    lines = [];
    shown = [];
    missed = 0;
    select(null);
    draw();
  }

  async function recording() {
    const now = await get('/timeline/recording').catch(() => null);
    if (now) showRecording(now.wire);
  }

  function showRecording(on) {
    record.setAttribute('aria-pressed', on);
    record.textContent = on ? 'Recording' : 'Record';
  }

  async function toggleRecording() {
    const on = record.getAttribute('aria-pressed') !== 'true';
    try {
      await send('PUT', '/timeline/recording', { wire: on });
      showRecording(on);
      toast(on ? 'What goes over the wire is kept, whether or not somebody looks.' : 'Only kept while somebody looks.');
    } catch (error) {
      toast(error.message, { tone: 'bad' });
    }
  }

  function select(line) {
    selected = line;
    list.redraw();
    if (!line && detail.contains(document.activeElement)) list.focus({ preventScroll: true });
    detail.hidden = !line;
    if (!line) return;
    const { n: _n, brief: said, text: _text, hex, packet, ...rest } = line;
    const about = facts([
      ['When', timeNode(line.at, `${clockTime(line.at)} (${line.at})`)],
      ['Device', line.client ? h('a', { href: href('device', { id: line.client.split('/')[0] }) }, line.client) : null],
      ['Connection', line.connection ? `${line.connection} · ${line.peer} · ${line.protocol} over ${line.transport}` : null],
      ['Direction', line.direction === 'in' ? 'to the hub' : line.direction === 'out' ? 'from the hub' : null],
      ['Size', line.kind === 'wire' ? size(line.bytes) : null],
      ['Took', line.elapsed_us === undefined ? null : latency(line.elapsed_us)],
      ['On the timeline', `number ${line.seq}`],
    ]);
    const raw = hex ? Uint8Array.from(hex.match(/../g), (two) => Number.parseInt(two, 16)) : null;
    replace(detail,
      card(line.kind === 'wire' ? 'Packet' : line.kind === 'notice' ? 'Hub' : 'Operation', [copyButton(() => JSON.stringify(line.kind === 'wire' ? { ...rest, packet } : rest, null, 2), 'Copy as JSON'),
        h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Close', onclick: () => select(null) }, '×')],
        h('p', { class: ['value', isBad(line) && 'bad-text'] }, said), about),
      line.kind === 'wire'
        ? packet && card('Decoded', [], jsonView(packet, { open: 3 }))
        : card('All of it', [], jsonView(rest, { open: 3 })),
      raw && card('Bytes', [line.bytes > raw.length ? badge(`first ${number(raw.length)} of ${number(line.bytes)}`) : null],
        h('pre', { class: 'mono', tabIndex: 0, 'aria-label': 'Bytes in hexadecimal' }, hexDump(raw, { width: 8 }))));
    // Where it is below the list.
    if (matchMedia('(max-width: 900px)').matches) detail.scrollIntoView({ block: 'nearest' });
  }

  const ended = new AbortController();
  on(document, 'keydown', (event) => {
    if (event.key === 'Escape' && selected && !document.querySelector('dialog[open]')) select(null);
  }, ended.signal);
  return () => {
    ended.abort();
    live?.close();
  };
}

function with_(query, more) {
  const all = new URLSearchParams(query);
  for (const [name, value] of Object.entries(more)) all.set(name, value);
  return all;
}

function where(line) {
  if (line.kind === 'wire') return line.direction === 'in' ? badge(`→ ${line.protocol}`, 'info') : badge(`← ${line.protocol}`, 'ok');
  if (line.kind === 'notice') return badge('hub', isBad(line) ? 'warn' : 'none');
  return badge(line.refusal ? 'refused' : 'operation', line.refusal ? 'bad' : 'none');
}

function isBad(line) {
  return Boolean(line.refusal || line.error || line.event === 'faultFired' || line.status >= 400
    || (line.kind === 'wire' && (line.packet === undefined || /^(CONNACK [1-5]|[45]\d\d )| refused| rejected/.test(line.summary))));
}

/** One line for people. */
function brief(line) {
  if (line.kind === 'wire') return line.summary;
  if (line.kind === 'operation') {
    const took = line.elapsed_us === undefined ? '' : ` · ${latency(line.elapsed_us)}`;
    return line.refusal ? `${line.operation} refused: ${line.refusal.code} · ${line.refusal.detail}` : `${line.operation}${took}`;
  }
  const json = (value) => (value === undefined || value === null ? '' : ` ${JSON.stringify(value).slice(0, 200)}`);
  switch (line.event) {
    case 'connected': return `connected over ${line.protocol}`;
    case 'disconnected': return `disconnected: ${line.reason}${line.detail ? `, ${line.detail}` : ''}`;
    case 'methodInvoked': return `method ${line.method} called${json(line.payload)}`;
    case 'methodEnded': return line.error ? `method ${line.method} failed: ${line.error.code}` : `method ${line.method} answered ${line.status}${json(line.payload)}`;
    case 'twinChanged': return ['tags', 'desired', 'reported'].filter((part) => line[part]).map((part) => `${part}${json(line[part])}`).join(' · ');
    case 'identityChanged': return `identity ${line.change} · ${line.status} · ${line.authentication}`;
    case 'telemetryStored': return `${number(line.messages)} ${line.source === 'Telemetry' ? `message${line.messages === 1 ? '' : 's'}` : line.source} stored in partition ${line.partition} · ${size(line.bytes)}`;
    case 'c2dSent': return `message ${line.sequence} waits for the device`;
    case 'c2dDelivered': return `message ${line.sequence} handed over${line.redelivered ? ' again' : ''}`;
    case 'c2dReturned': return `message ${line.sequence} is back in its queue`;
    case 'c2dEnded': return `message ${line.sequence} ended: ${line.outcome}`;
    case 'faultFired': return `fault on ${line.operation}: ${line.action}`;
    default: return line.event;
  }
}
