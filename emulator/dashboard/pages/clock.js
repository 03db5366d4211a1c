// The hub's clock, what falls due by it, and faults on demand.

import { h, replace } from '../lib/html.js';
import { get, lines, send } from '../lib/api.js';
import { clockTime, dateTime, duration, number, timeNode } from '../lib/format.js';
import { badge, busy, card, empty, failure, field, pageHead } from '../lib/ui.js';
import { toast } from '../components/toast.js';
import { table } from './device/parts.js';

export const title = 'Clock and faults';

const STEPS = [[10, '10 s'], [60, '1 min'], [600, '10 min'], [3600, '1 h'], [86_400, '1 day'], [604_800, '1 week']];
const UNITS = [[1, 'seconds'], [60, 'minutes'], [3600, 'hours'], [86_400, 'days']];
const EVERY = 2000;
const TIMERS = 50;
const FIRED = '/timeline?events=faultFired&max=50';
const PRESETS = [
  ['Throttle 3 method calls', { fault: 'fail', operation: 'invokeMethod', code: 'ThrottlingException', count: 3 }],
  ['Refuse 2 connects', { fault: 'fail', operation: 'connect', code: 'IotHubUnauthorizedAccess', count: 2 }],
  ['Hub unavailable to the next 5 sends', { fault: 'fail', operation: 'sendTelemetry', code: 'ServiceUnavailable', count: 5 }],
  ['Twins answer 2 s late, 5 times', { fault: 'delay', operation: 'getOwnTwin', millis: 2000, count: 5 }],
  ['C2D queue full once', { fault: 'fail', operation: 'sendC2d', code: 'DeviceMaximumQueueDepthExceeded', count: 1 }],
  ['Registry answers 500 ms late, 20 times', { fault: 'delay', operation: 'getDevice', millis: 500, count: 20 }],
];

export function mount(root) {
  const parts = [clock(), faults()];
  root.append(pageHead(title, 'Time stands or jumps for everything in the hub: token expiry, locks, timeouts, jobs. Faults make an operation fail or wait.'),
    ...parts.map(({ node }) => node));
  let timer = 0;
  let ended = false;
  async function refresh() {
    if (!document.hidden) await Promise.all(parts.map((part) => part.refresh()));
    if (!ended) timer = setTimeout(refresh, EVERY);
  }
  refresh();
  return () => {
    ended = true;
    clearTimeout(timer);
    for (const part of parts) part.close?.();
  };
}

// --- The clock ---

function clock() {
  const face = h('div', { class: 'figure', role: 'timer', 'aria-label': 'The hub’s time' });
  const state = h('p', { class: 'muted', 'aria-live': 'polite' });
  const toggle = h('button', { type: 'button', class: 'primary', onclick: () => run(toggle, () => send('POST', `/clock/${now?.frozen ? 'resume' : 'freeze'}`)) }, 'Freeze');
  const amount = h('input', { type: 'number', min: 0, step: 'any', value: 5, required: true });
  const unit = h('select', null, UNITS.map(([value, label]) => h('option', { value, selected: value === 60 }, label)));
  const go = h('button', null, 'Advance');
  const next = h('button', { type: 'button', disabled: true, onclick: () => advance(next, dueIn()) }, 'To the next timer');
  const due = h('div');
  let now = null;
  let read = 0;
  let timers = [];

  const tick = setInterval(show, 250);

  function at() {
    return Date.parse(now.now) + (now.frozen ? 0 : performance.now() - read);
  }

  function show() {
    if (!now) return;
    const time = new Date(at());
    face.textContent = dateTime(time.toISOString());
    const off = at() - Date.now();
    const text = (now.frozen ? 'It stands still.' : 'It runs.') + (Math.abs(off) > 2000 ? ` It is ${duration(Math.abs(off))} ${off > 0 ? 'ahead of' : 'behind'} this machine’s clock.` : '');
    // Read out when it changes, not each second.
    if (state.textContent !== text) state.textContent = text;
    toggle.textContent = now.frozen ? 'Resume' : 'Freeze';
    for (const cell of due.querySelectorAll('[data-due]')) cell.textContent = remaining(Number(cell.dataset.due));
  }

  function remaining(when) {
    const left = when - at();
    return left <= 0 ? 'now' : `in ${duration(left)}`;
  }

  function dueIn() {
    return timers.length ? Math.max(0, (Date.parse(timers[0].due) - at()) / 1000) : 0;
  }

  async function run(button, work) {
    await busy(button, work);
    document.dispatchEvent(new Event('clock-changed'));
    await refresh();
  }

  function advance(button, seconds) {
    return run(button, async () => {
      await send('POST', '/clock/advance', { seconds });
      toast(`The clock went ${duration(seconds * 1000)} forward.`, { tone: 'ok' });
    });
  }

  async function refresh() {
    const [time, list] = await Promise.all([get('/clock').catch(() => null), get(`/clock/timers?count=${TIMERS}`).catch((error) => error)]);
    if (time) {
      now = time;
      read = performance.now();
    }
    showTimers(list);
    show();
  }

  function showTimers(list) {
    const all = Array.isArray(list) ? list : list?.timers;
    if (!all) {
      replace(due, failure(list instanceof Error ? list : new Error('No list of timers.')));
      return;
    }
    timers = all;
    next.disabled = all.length === 0;
    const rows = all.map(({ due: when, what, client }) => [h('span', { class: 'nowrap', 'data-due': Date.parse(when) }), timeNode(when, dayTime(when)), client ? what.replace(` of ${client}`, '') : what, client ? h('code', null, client) : '']);
    const key = JSON.stringify(all.map(({ due: when, what, client }) => [when, what, client]));
    if (due.dataset.key === key) return;
    due.dataset.key = key;
    const more = (list.total ?? all.length) - all.length;
    replace(due, all.length === 0 ? empty('Nothing waits for the clock.') : table('Timers', ['Due', 'At', 'What', 'Device'], rows),
      more > 0 ? h('p', { class: 'muted' }, `and ${number(more)} more`) : null);
  }

  const node = h('div', { class: 'grid wide' },
    card('Clock', toggle, face, state,
      h('fieldset', null, h('legend', null, 'Advance by'),
        h('div', { class: 'toolbar' }, STEPS.map(([seconds, label]) => h('button', { type: 'button', onclick: (event) => advance(event.currentTarget, seconds) }, label)), next)),
      h('form', { class: 'toolbar', onsubmit: (event) => { event.preventDefault(); advance(go, Number(amount.value) * Number(unit.value)); } },
        field('Amount', amount), field('Unit', unit), h('div', { style: { 'align-self': 'end' } }, go))),
    card('Next timers due', null, due));
  return { node, refresh, close: () => clearInterval(tick) };
}

// --- Faults ---

function faults() {
  const fault = h('select', { onchange: arrange }, [['fail', 'fails with'], ['delay', 'waits'], ['drop', 'ends a connection, now']].map(([value, label]) => h('option', { value }, label)));
  const operation = h('select');
  const code = h('select');
  const client = h('input', { spellcheck: false, autocomplete: 'off' });
  const count = h('input', { type: 'number', min: 1, value: 1, required: true });
  const nth = h('input', { type: 'number', min: 1, value: 1, required: true });
  const millis = h('input', { type: 'number', min: 0, value: 1000, required: true });
  const arm = h('button', { class: 'primary' }, 'Arm');
  const problem = h('div', { class: 'problem' });
  const clear = h('button', { type: 'button', class: 'danger', disabled: true, onclick: () => busy(clear, async () => { await send('DELETE', '/faults'); await refresh(); }) }, 'Clear all');
  const rules = h('div');
  const fired = h('div', { 'aria-live': 'polite' });
  const choices = field('Code', code);
  choices.classList.add('whole');
  const fields = { operation: field('Operation', operation), code: choices, millis: field('Milliseconds', millis), count: field('How many', count), nth: field('From the nth', nth), client: field('Device or module', client, 'empty: any') };

  function arrange() {
    const kind = fault.value;
    fields.code.hidden = kind !== 'fail';
    fields.millis.hidden = kind !== 'delay';
    for (const name of ['operation', 'count', 'nth']) fields[name].hidden = kind === 'drop';
    client.required = kind === 'drop';
  }

  function write(rule) {
    fault.value = rule.fault;
    operation.value = rule.operation;
    if (rule.code) code.value = rule.code;
    if (rule.millis) millis.value = rule.millis;
    count.value = rule.count;
    nth.value = rule.nth ?? 1;
    arrange();
    arm.focus();
  }

  function wish() {
    const rule = { fault: fault.value, client: client.value.trim() || null };
    if (rule.fault === 'drop') return rule;
    Object.assign(rule, { operation: operation.value, count: Number(count.value), nth: Number(nth.value) });
    return rule.fault === 'fail' ? { ...rule, code: code.value } : { ...rule, millis: Number(millis.value) };
  }

  async function submit(event) {
    event.preventDefault();
    replace(problem);
    arm.disabled = true;
    try {
      const rule = wish();
      await send('POST', '/faults', rule);
      toast(rule.fault === 'drop' ? `The connection of ${rule.client} was ended.` : `Armed: ${rule.operation} ${does(rule)}.`, { tone: 'ok' });
      await refresh();
    } catch (error) {
      replace(problem, failure(error));
    } finally {
      arm.disabled = false;
    }
  }

  async function refresh() {
    const [all, list] = await Promise.all([get('/faults').catch(() => null), lines(FIRED).catch(() => null)]);
    if (all && rules.dataset.key !== JSON.stringify(all)) {
      rules.dataset.key = JSON.stringify(all);
      clear.disabled = all.length === 0;
      replace(rules, all.length === 0 ? empty('No rule is armed.') : table('Armed rules', ['Operation', 'Does', 'Device', 'From', 'How many', 'Seen', 'Fired', ''], all.map((rule) => [
        h('code', null, rule.operation), does(rule), rule.client ? h('code', null, rule.client) : 'any', ordinal(rule.nth), number(rule.count), number(rule.seen), number(rule.fired),
        rule.fired >= rule.count ? badge('done') : badge('armed', 'warn'),
      ])));
    }
    const entries = list?.filter(({ event }) => event === 'faultFired').reverse();
    const key = JSON.stringify(entries);
    if (!entries || fired.dataset.key === key) return;
    fired.dataset.key = key;
    replace(fired, entries.length === 0 ? empty('Nothing has fired yet.') : table('Faults that fired', ['At', 'Operation', 'Device', 'What it did'], entries.map((one) => [
      timeNode(one.at, clockTime(one.at)), h('code', null, one.operation), one.client ? h('code', null, one.client) : '', one.action,
    ])));
  }

  get('/faults/choices').then(({ operations, codes }) => {
    replace(operation, operations.map((name) => h('option', { value: name, selected: name === 'invokeMethod' }, name)));
    replace(code, codes.map(({ name, status, number: id }) => h('option', { value: name, selected: name === 'ThrottlingException' }, `${name} · ${status}, ${id}`)));
  }, (error) => replace(problem, failure(error)));
  arrange();
  const node = h('div', { class: 'stack' },
    h('div', { class: 'grid wide' },
      card('Arm a fault', null, h('form', { class: 'stack', onsubmit: submit },
        h('div', { class: 'form' }, fields.operation, field('What it does', fault), fields.code, fields.millis, fields.count, fields.nth, fields.client),
        problem, h('div', { class: 'toolbar' }, arm)),
      h('fieldset', null, h('legend', null, 'Presets'), h('div', { class: 'toolbar' }, PRESETS.map(([label, rule]) => h('button', { type: 'button', onclick: () => write(rule) }, label))))),
      card('What fired', null, fired)),
    card('Rules', clear, rules));
  return { node, refresh };
}

function does({ fault, code, millis }) {
  return fault === 'fail' ? `fails with ${code}` : `waits ${duration(millis)}`;
}

/** The time, and of the day what differs from this machine's today. */
function dayTime(iso) {
  const [day, time] = dateTime(iso).split(' ');
  const [today] = dateTime(new Date().toISOString()).split(' ');
  if (day === today) return time;
  return `${day.slice(0, 4) === today.slice(0, 4) ? day.slice(5) : day} ${time}`;
}

function ordinal(nth) {
  const ending = nth % 100 >= 11 && nth % 100 <= 13 ? 'th' : ['th', 'st', 'nd', 'rd'][nth % 10] ?? 'th';
  return `the ${nth}${ending}`;
}
