// Where events go: routes and what they matched, a trial, consumer groups, the event log.

import { h, replace } from '../lib/html.js';
import { get, send } from '../lib/api.js';
import { bytes, number, timeNode } from '../lib/format.js';
import { badge, busy, card, empty, failure, field, pageHead } from '../lib/ui.js';
import { href, setParams } from '../lib/router.js';
import { confirm } from '../components/dialog.js';
import { jsonEditor } from '../components/json.js';
import { tabs } from '../components/tabs.js';
import { toast } from '../components/toast.js';
import { table } from './device/parts.js';

export const title = 'Events and routes';

const SOURCES = ['DeviceMessages', 'TwinChangeEvents', 'DeviceLifecycleEvents', 'DeviceJobLifecycleEvents', 'DeviceConnectionStateEvents', 'DigitalTwinChangeEvents'];
const EVERY = 2000;
const EXAMPLE = {
  name: 'alarms', source: 'DeviceMessages', condition: "level = 'alarm'", endpointNames: ['events'], isEnabled: true,
};

export function mount(root, params) {
  const state = { routing: null };
  const parts = { routes: routes(state), matched: matched(), log: eventLog() };
  const test = trial(state);
  const node = tabs({
    label: 'Events and routes', selected: params.tab,
    onSelect: (tab) => { setParams({ tab }); refresh(); },
    items: [
      { id: 'routes', label: 'Routes', panel: () => parts.routes.node },
      { id: 'try', label: 'Try a message', panel: () => test },
      { id: 'matched', label: 'What matched', panel: () => parts.matched.node },
      { id: 'log', label: 'Readers and partitions', panel: () => parts.log.node },
    ],
  });
  root.append(pageHead(title, 'Each event is held against the routes; what none matches goes to the built-in endpoint by the fallback route.'), node);
  let timer = 0;
  let ended = false;
  async function refresh() {
    clearTimeout(timer);
    const shown = Object.values(parts).find((part) => part.node.isConnected);
    if (!document.hidden) await shown?.refresh();
    if (!ended) {
      clearTimeout(timer);
      timer = setTimeout(refresh, EVERY);
    }
  }
  refresh();
  return () => {
    ended = true;
    clearTimeout(timer);
    node.close();
  };
}

// --- Routes ---

function routes(state) {
  const editor = jsonEditor({ label: 'Routing', value: {}, rows: 22, hint: 'As properties.routing of the real hub: endpoints, routes, fallbackRoute, enrichments. A whole hub’s description is taken, too.' });
  const list = h('div', { class: 'stack' });
  const problem = h('div', { class: 'problem' });
  const save = h('button', { class: 'primary' }, 'Set');
  let known = '';

  async function put(document, done) {
    replace(problem);
    try {
      show(await send('PUT', '/routing', document), true);
      toast(done, { tone: 'ok' });
    } catch (error) {
      replace(problem, failure(error));
      throw error;
    }
  }

  function show(routing, force = false) {
    state.routing = routing;
    const text = JSON.stringify(routing);
    if (text === known && !force) return;
    // What a person is writing stays.
    if (force || !editor.isChanged()) editor.write(routing);
    else replace(problem, h('p', { class: 'note warn' }, 'The routing has changed meanwhile; “Read anew” shows it.'));
    known = text;
    showList(routing);
  }

  function showList({ routes: all = [], fallbackRoute: fallback, enrichments = [], endpoints = {} }) {
    const rows = all.map((route) => [
      h('b', null, route.name), h('code', null, route.source), h('code', { class: 'value' }, route.condition), route.endpointNames.join(', '),
      h('button', { type: 'button', 'aria-pressed': String(route.isEnabled), 'aria-label': `${route.name}: ${route.isEnabled ? 'On' : 'Off'}`, onclick: (event) => change(event.currentTarget, route, { isEnabled: !route.isEnabled }) }, route.isEnabled ? 'On' : 'Off'),
      h('button', { type: 'button', class: 'quiet', 'aria-label': `Delete ${route.name}`, onclick: (event) => change(event.currentTarget, route, null) }, 'Delete'),
    ]);
    const custom = Object.values(endpoints).flat();
    replace(list, rows.length ? table('Routes that are set', ['Route', 'Source', 'Condition', 'To', 'In force', ''], rows) : empty('No route: everything goes to the built-in endpoint.'),
      h('p', { class: 'muted' }, `Fallback ${fallback?.isEnabled === false ? 'off: what no route matches is dropped' : `to ${fallback?.endpointNames?.join(', ') ?? 'events'}`} · ${many(custom.length, 'endpoint')} of its own${custom.length ? ` (${custom.map(({ name }) => name).join(', ')})` : ''} · ${many(enrichments.length, 'enrichment')}`));
  }

  function change(button, route, changes) {
    const next = structuredClone(state.routing);
    next.routes = next.routes.flatMap((one) => (one.name !== route.name ? [one] : changes ? [{ ...one, ...changes }] : []));
    return busy(button, () => put(next, changes ? `${route.name} is ${changes.isEnabled ? 'on' : 'off'}.` : `${route.name} is gone.`).catch(() => {}));
  }

  function addExample() {
    let document;
    try {
      document = editor.read();
    } catch {
      return;
    }
    const taken = new Set((document.routes ?? []).map(({ name }) => name));
    let name = EXAMPLE.name;
    for (let at = 2; taken.has(name); at += 1) name = `${EXAMPLE.name}${at}`;
    editor.area.value = JSON.stringify({ ...document, routes: [...(document.routes ?? []), { ...EXAMPLE, name }] }, null, 2);
    editor.area.focus();
  }

  async function clear(event) {
    const button = event.currentTarget;
    if (!await confirm({ title: 'Remove all routes?', text: 'Everything goes to the built-in endpoint again.', action: 'Remove', danger: true })) return;
    await busy(button, () => send('DELETE', '/routing'));
    await refresh(true);
  }

  async function refresh(force = false) {
    try {
      show(await get('/routing'), force);
    } catch (error) {
      replace(list, failure(error));
    }
  }

  const node = h('div', { class: 'stack' }, card('Routes', null, list),
    card('Document', [h('button', { type: 'button', onclick: addExample }, 'Add a route'), h('button', { type: 'button', onclick: () => { replace(problem); refresh(true); } }, 'Read anew'), h('button', { type: 'button', class: 'danger', onclick: clear }, 'Remove all…')],
      h('form', {
        class: 'stack',
        onsubmit: async (event) => {
          event.preventDefault();
          let document;
          try {
            document = editor.read();
          } catch {
            return;
          }
          save.disabled = true;
          await put(document, 'The routing is set.').catch(() => {});
          save.disabled = false;
        },
      }, editor, problem, h('div', { class: 'toolbar' }, save))));
  return { node, refresh };
}

// --- A trial ---

function trial(state) {
  const source = h('select', null, SOURCES.map((name) => h('option', { value: name }, name)));
  const device = h('input', { value: 'd1', spellcheck: false, autocomplete: 'off' });
  const condition = h('input', { class: 'mono', spellcheck: false, autocomplete: 'off', placeholder: "$body.temperature > 30 AND level = 'alarm'" });
  const body = jsonEditor({ label: 'Body', text: '{\n  "temperature": 31\n}', rows: 6 });
  const application = jsonEditor({ label: 'Application properties', text: '{\n  "level": "alarm"\n}', rows: 4 });
  const system = jsonEditor({ label: 'System properties', text: '{\n  "contentType": "application/json",\n  "contentEncoding": "utf-8"\n}', rows: 4 });
  const go = h('button', { class: 'primary' }, 'Try');
  const result = h('div', { class: 'stack', 'aria-live': 'polite' }, empty('Nothing is sent and nothing counted.'));

  async function submit(event) {
    event.preventDefault();
    let input;
    try {
      input = { routingSource: source.value, message: { body: JSON.stringify(body.read()), appProperties: strings(application.read()), systemProperties: strings(system.read()) } };
    } catch {
      return;
    }
    const [id, module] = device.value.trim().split('/');
    if (id) input.deviceId = id;
    if (module) input.moduleId = module;
    if (condition.value.trim()) input.route = { name: 'trial', source: source.value, condition: condition.value, endpointNames: ['events'], isEnabled: true };
    await busy(go, async () => {
      try {
        replace(result, verdict(await send('POST', '/routing/test', input)));
      } catch (error) {
        replace(result, failure(error));
      }
    });
  }

  function verdict({ routes: tried, fallback, endpoints }) {
    return [
      h('p', { class: `note ${endpoints.length ? 'ok' : 'warn'}`, role: 'status' }, endpoints.length ? `It goes to ${endpoints.join(', ')}${fallback ? ' by the fallback route' : ''}.` : condition.value.trim() ? 'The condition is not met.' : 'It is dropped: no route matches, and the fallback route is off.'),
      tried.length ? table('Routes that were tried', ['Route', 'Condition', 'Matches'], tried.map((route) => [h('b', null, route.name), h('code', { class: 'value' }, route.condition), route.result === 'true' ? badge('matches', 'ok') : badge(route.isEnabled ? 'does not match' : 'off')]))
        : h('p', { class: 'muted' }, `No route is for ${source.value}${state.routing?.routes?.length ? '' : ': there are none'}.`),
    ];
  }

  return h('div', { class: 'grid wide' },
    card('A message', null, h('form', { class: 'stack', onsubmit: submit },
      h('div', { class: 'form' }, field('Source', source), field('From', device, 'd1 or d1/m1; its twin is looked at')), body, application, system,
      field('Only this condition', condition, 'empty: the routes that are set'), h('div', { class: 'toolbar' }, go))),
    card('What would become of it', null, result));
}

function many(count, word) {
  return `${number(count)} ${word}${count === 1 ? '' : 's'}`;
}

/** Properties are texts on the wire. */
function strings(object) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]));
}

// --- What matched ---

function matched() {
  const counts = h('div', { class: 'grid' });
  const last = h('div');
  async function refresh() {
    let record;
    try {
      record = await get('/routing/log');
    } catch (error) {
      replace(last, failure(error));
      return;
    }
    const { routes: all, fallback, dropped, endpoints, messages, folder } = record;
    const sums = JSON.stringify([all, fallback, dropped, endpoints]);
    if (counts.dataset.key !== sums) replace(counts,
      card('Routes', null, table('How often each matched', ['Route', 'Matched'], [...all.map(({ name, matched: count }) => [name, number(count)]), [h('i', null, 'fallback'), number(fallback)], [h('i', null, 'dropped'), number(dropped)]])),
      card('Endpoints', null, endpoints.length === 0 ? empty('Nothing was routed yet.') : table('What each endpoint got', ['Endpoint', 'Messages', 'Too large', 'Failed'], endpoints.map(({ name, messages: count, tooLarge, failed, lastFailure }) => [
        name, number(count), number(tooLarge), failed ? h('span', null, badge(number(failed), 'bad'), ' ', lastFailure) : '0'])),
      folder ? h('p', { class: 'muted value' }, 'Files are below ', h('code', null, folder)) : null));
    counts.dataset.key = sums;
    const key = JSON.stringify(messages);
    if (last.dataset.key === key) return;
    last.dataset.key = key;
    replace(last, messages.length === 0 ? empty('No message since routes were set.') : table('Messages, the latest first', ['When', 'Source', 'From', 'Message id', 'Size', 'Routes', 'To'], [...messages].reverse().slice(0, 100).map((one) => [
      timeNode(one.enqueuedTime), h('code', null, one.source), h('a', { href: href('device', { id: one.client }) }, one.client), one.messageId ?? '', bytes(one.size),
      one.routes.length ? one.routes.map((name) => [badge(name, 'ok'), ' ']) : one.fallback ? badge('fallback', 'info') : badge('dropped', 'warn'), one.endpoints.join(', ')])));
  }
  return { node: h('div', { class: 'stack' }, counts, card('Last messages', null, last)), refresh };
}

// --- Readers and partitions ---

function eventLog() {
  const groups = h('div');
  const partitions = h('div');
  const name = h('input', { required: true, pattern: '[A-Za-z0-9._\\-]{1,50}', maxLength: 50, spellcheck: false, autocomplete: 'off' });
  const make = h('button', { class: 'primary' }, 'Make');
  const where = (group) => `/consumer-groups/${encodeURIComponent(group)}`;

  async function remove(button, group) {
    if (!await confirm({ title: `Delete ${group}?`, text: 'Its readers are disconnected.', action: 'Delete', danger: true })) return;
    await busy(button, () => send('DELETE', where(group)));
    await refresh();
  }

  async function refresh() {
    const [all, log] = await Promise.all([get('/consumer-groups').catch((error) => error), get('/partitions').catch((error) => error)]);
    if (all instanceof Error) replace(groups, failure(all));
    else if (groups.dataset.key !== JSON.stringify(all)) {
      groups.dataset.key = JSON.stringify(all);
      replace(groups, table('Groups of readers', ['Name', 'Made', ''], all.value.map(({ name: group, properties }) => [
        h('b', null, group), timeNode(new Date(properties.created).toISOString()),
        group === '$Default' ? '' : h('button', { type: 'button', class: 'quiet', 'aria-label': `Delete ${group}`, onclick: (event) => remove(event.currentTarget, group) }, 'Delete')])));
    }
    if (log instanceof Error) replace(partitions, failure(log));
    else if (partitions.dataset.key !== JSON.stringify(log)) {
      partitions.dataset.key = JSON.stringify(log);
      replace(partitions, table('Partitions', ['Partition', 'Oldest kept', 'Next', 'Events', 'Newest'], log.map((one) => [
      one.partition, number(one.first), number(one.next), number(one.events), one.newest ? timeNode(one.newest) : '–'])));
    }
  }

  async function submit(event) {
    event.preventDefault();
    await busy(make, async () => {
      await send('PUT', where(name.value));
      toast(`Made ${name.value}.`, { tone: 'ok' });
      name.value = '';
    });
    await refresh();
  }

  const node = h('div', { class: 'grid wide' },
    card('Consumer groups', null, groups, h('form', { class: 'toolbar', onsubmit: submit }, field('New group', name), h('div', { style: { 'align-self': 'end' } }, make))),
    card('Event log', h('a', { class: 'button', href: href('telemetry') }, 'Look into it'), partitions));
  return { node, refresh };
}
