// What the hub is, how to reach it, and what goes on.

import { append, h, replace } from '../lib/html.js';
import { ApiError, get, hub, send } from '../lib/api.js';
import { stream } from '../lib/stream.js';
import { bytes, compact, dateTime, duration, latency, number } from '../lib/format.js';
import { badge, busy, card, empty, facts, failure, field, pageHead } from '../lib/ui.js';
import { download } from '../lib/copy.js';
import { href } from '../lib/router.js';
import { lineChart } from '../components/chart.js';
import { copyButton, copyLine, secret } from '../components/copy-button.js';
import { confirm } from '../components/dialog.js';
import { tabs } from '../components/tabs.js';
import { toast } from '../components/toast.js';
import { SDKS, SIDES, snippet } from './snippets.js';

export const title = 'Overview';

const POLICIES = {
  iothubowner: 'everything', service: 'what back ends do', device: 'to connect as any device',
  registryRead: 'read identities', registryReadWrite: 'read and write identities',
};
const EVERY = 15_000;
const PERCENT = 100;
const OPERATIONS = 10;

export async function mount(root) {
  const live = rates();
  const notEmulated = h('div', null);
  const throttles = h('div', { hidden: true });
  const head = pageHead('Overview', '', h('button', { type: 'button', class: 'danger', onclick: (event) => reset(event.target) }, 'Reset…'));
  append(root, head, live.node);
  let timer = 0;
  let ended = false;
  async function refresh() {
    await Promise.all([showNotEmulated(notEmulated), showThrottles(throttles)]);
    if (!ended) timer = setTimeout(refresh, EVERY);
  }
  refresh();
  get('/info').then((info) => {
    append(root, connect(info), h('div', { class: 'grid' }, strings(info), authority(info)), throttles,
      h('div', { class: 'grid' }, live.operations, card('Asked for and not emulated', null, notEmulated)));
  }, (error) => append(root, failure(error)));
  return () => {
    ended = true;
    clearTimeout(timer);
    live.close();
  };
}

async function reset(button) {
  const agreed = await confirm({
    title: 'Reset the hub?', action: 'Reset', danger: true,
    text: 'Devices, twins, events, files, jobs, configurations and faults are gone afterwards, and every connection ends.',
  });
  if (!agreed) return;
  await busy(button, () => send('POST', '/reset'));
  toast('The hub is empty.', { tone: 'ok' });
}

// --- Rates ---

function rates() {
  const chart = (label, series, format) => lineChart({ label, series, format, height: 132 });
  const perSecond = (value) => `${compact(value)}/s`;
  const telemetry = chart('Telemetry', [{ key: 'telemetry', label: 'messages' }], perSecond);
  const calls = chart('Calls', [{ key: 'methods', label: 'methods' }, { key: 'twins', label: 'twins' },
    { key: 'c2d', label: 'cloud to device' }, { key: 'refused', label: 'refused' }], perSecond);
  const connections = chart('Connections', [{ key: 'mqtt', label: 'MQTT' }, { key: 'amqp', label: 'AMQP' }], compact);
  const times = chart('Latency', [{ key: 'p50', label: 'half below' }, { key: 'p99', label: '99 % below' }], latency);
  const figures = h('div', { class: 'figures' });
  const operations = h('tbody');
  const flow = h('span', { class: 'muted num' });
  const state = h('p', { class: 'muted live-state', role: 'status' });
  const known = new Map();

  const live = stream('/stats?interval=1000', {
    onData: (stats) => {
      // Not the hub's time, which may stand still.
      const now = Date.now();
      const { rates: per = {}, connections: open = {}, latency: measured = {} } = stats;
      telemetry.push(now, per);
      calls.push(now, per);
      connections.push(now, byProtocol(open));
      times.push(now, worst(measured));
      flow.textContent = `${bytes(per.telemetry_bytes ?? 0)}/s`;
      for (const [name, one] of Object.entries(measured)) known.set(name, one);
      showFigures(stats);
      showOperations(stats.operations ?? {});
      const lost = stats.dropped_observations ?? 0;
      state.textContent = lost > 0 ? `The observer bus has dropped ${number(lost)} messages: its readers are too slow.` : '';
    },
    onState: (name) => {
      if (name !== 'open') state.textContent = { waiting: 'Waiting for the emulator…', paused: 'Paused while nobody looks.' }[name] ?? '';
    },
  });

  function showFigures({ devices, connections: open, totals = {}, uptime_seconds: up, memory_bytes: memory }) {
    const figure = (value, label, link) => h(link ? 'a' : 'div', { class: 'figure-tile', href: link }, h('span', { class: 'figure' }, value), h('span', { class: 'muted' }, label));
    replace(figures,
      figure(compact(devices), 'devices', href('devices')),
      figure(compact(open?.total ?? 0), 'connections', href('devices')),
      figure(compact(totals.telemetry ?? 0), 'messages so far', href('telemetry')),
      figure(compact(totals.methods ?? 0), 'methods so far', null),
      figure(compact(totals.refused ?? 0), 'refused so far', href('wire')),
      memory ? figure(bytes(memory), `memory${up ? ` · up ${duration(up * 1000)}` : ''}`, null) : null);
  }

  function showOperations(counted) {
    const rows = Object.entries(counted).map(([name, one]) => [name, one.succeeded + one.refused, one.refused]).sort((a, b) => b[1] - a[1]);
    replace(operations, rows.slice(0, OPERATIONS).map(([name, count, refused]) => h('tr', null, h('td', { class: 'mono' }, name), h('td', { class: 'num' }, number(count)),
      h('td', { class: 'num' }, refused ? number(refused) : '–'),
      h('td', { class: 'num' }, latency(known.get(name)?.p50_us)), h('td', { class: 'num' }, latency(known.get(name)?.p99_us)))));
  }

  const table = h('div', { class: 'table-wrap', tabIndex: 0, role: 'group', 'aria-label': 'Operations and their latency' }, h('table', null,
    h('thead', null, h('tr', null, ['Operation', 'Calls', 'Refused', 'Half below', '99 % below'].map((name, index) => h('th', { scope: 'col', class: index ? 'num' : '' }, name)))), operations));
  const node = h('div', { class: 'stack' }, figures,
    h('div', { class: 'grid wide' }, card('Telemetry', flow, telemetry), card('Methods, twins, messages', null, calls),
      card('Connections', null, connections), card('Latency', null, times)), state);
  return { node, operations: card('Operations', null, table), close: () => live.close() };
}

/** Connections over WebSocket count to the protocol inside. */
function byProtocol(open) {
  const of = (name) => Object.entries(open).reduce((sum, [key, count]) => (key.toLowerCase().startsWith(name) ? sum + count : sum), 0);
  return { mqtt: of('mqtt'), amqp: of('amqp') };
}

/** Half and nearly all: of the operation that happened most, and the worst of any. */
function worst(measured) {
  const all = Object.values(measured).filter((one) => one.count > 0);
  if (all.length === 0) return {};
  const most = all.reduce((a, b) => (b.count > a.count ? b : a));
  return { p50: most.p50_us, p99: Math.max(...all.map((one) => one.p99_us)) };
}

// --- How to reach it ---

function connect(info) {
  const { ports, connection_strings: all, ca_file: file } = info;
  const policies = Object.keys(all).filter((name) => !name.startsWith('events'));
  const id = h('input', { name: 'device', value: 'd1', spellcheck: false, autocomplete: 'off', onchange: findDevice });
  const policy = h('select', { name: 'policy', onchange: show }, policies.map((name) => h('option', { value: name, selected: name === 'iothubowner' }, name)));
  const side = h('select', { name: 'side', onchange: show }, SIDES.map(([value, label]) => h('option', { value }, label)));
  const missing = h('div', { hidden: true });
  const body = h('div', { class: 'stack' });
  let sdk = SDKS[0][0];
  let deviceString = null;

  function show() {
    const at = {
      id: id.value, ports, service: all[policy.value], events: all.events_plain ?? all.events, ca: file ?? 'ca.pem',
      device: deviceString ?? `HostName=${info.hostname};DeviceId=${id.value};SharedAccessKey=…`,
    };
    const made = snippet(sdk, side.value, at);
    policy.disabled = side.value === 'events';
    if (!made) {
      replace(body, empty('For this side take another SDK, or the commands of iothub-emulator.'));
      return;
    }
    replace(body, block('Set up', made.setup), block('Program', made.code), made.note ? h('p', { class: 'note' }, made.note) : null);
  }

  async function findDevice() {
    deviceString = null;
    missing.hidden = true;
    try {
      const { body: device } = await hub('GET', `/devices/${encodeURIComponent(id.value)}`);
      const key = device.authentication?.symmetricKey?.primaryKey;
      if (key) deviceString = `HostName=${info.hostname};DeviceId=${device.deviceId};SharedAccessKey=${key}`;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) offer();
    } finally {
      show();
    }
  }

  function offer() {
    missing.hidden = false;
    replace(missing, h('div', { class: 'note toolbar' }, `There is no device ${id.value} yet.`, h('button', {
      type: 'button', onclick: (event) => busy(event.target, async () => {
        await hub('PUT', `/devices/${encodeURIComponent(id.value)}`, { deviceId: id.value });
        toast(`Registered ${id.value}.`, { tone: 'ok' });
        await findDevice();
      }),
    }, 'Register it')));
  }

  const choice = tabs({
    label: 'SDK',
    items: SDKS.map(([value, label]) => ({ id: value, label, panel: () => body })),
    onSelect: (value) => { sdk = value; show(); },
  });
  firstDevice().then((name) => {
    if (name) id.value = name;
    else offer();
    return name ? findDevice() : show();
  });
  return card('Connect', null,
    h('div', { class: 'form' }, field('Side', side), field('Device', id), field('Policy', policy)), missing, choice);
}

async function firstDevice() {
  const { body } = await hub('GET', '/devices?top=1').catch(() => ({ body: [] }));
  return body[0]?.deviceId;
}

function block(label, text) {
  return h('div', { class: label === 'Program' ? 'program' : 'setup' },
    h('div', { class: 'label-line' }, h('span', { class: 'label' }, label), copyButton(text, 'Copy', label.toLowerCase())), h('pre', { tabIndex: 0, 'aria-label': label }, text));
}

function strings(info) {
  const { connection_strings: all, storage } = info;
  const line = (name, value, what) => h('div', { class: 'stack tight' }, h('div', null, h('b', null, name), what ? h('span', { class: 'muted' }, ` · ${what}`) : null), secret(value, `connection string of ${name}`));
  const { events, events_plain: plain, ...policies } = all;
  return card('Connection strings', null,
    Object.entries(policies).map(([name, value]) => line(name, value, POLICIES[name])),
    events ? line('Events', events, 'Event Hubs SDKs, TLS') : null,
    plain ? line('Events, plain', plain, 'Event Hubs SDKs, no certificate') : null,
    storage ? line('Storage', storage.connection_string, 'checkpoints, uploads') : null);
}

function authority(info) {
  const file = info.ca_file ?? 'ca.pem';
  const { ports } = info;
  const names = { mqtts: 'MQTT, TLS', mqtt: 'MQTT', amqps: 'AMQP, TLS', amqp: 'AMQP', https: 'HTTPS', http: 'HTTP', observe: 'Observer bus' };
  const usual = { mqtts: 8883, amqps: 5671, https: 443 };
  const shells = tabs({
    label: 'Where to trust it',
    items: [
      ['sh', 'Shell', `eval "$(iothub-emulator env)"\n# or by hand:\nexport SSL_CERT_FILE='${file}'          # Python devices, C#, Rust\nexport REQUESTS_CA_BUNDLE='${file}'     # Python back ends, az\nexport NODE_EXTRA_CA_CERTS='${file}'    # Node.js\ncat '${file}' >> "$(python3 -m certifi)"    # AMQP of Python`],
      ['ps', 'PowerShell', `iothub-emulator env --shell powershell | Out-String | Invoke-Expression\ncertutil -user -addstore Root ca.pem    # C#, and everything that uses the system's roots`],
      ['java', 'Java', `keytool -importcert -noprompt -alias iothub-emulator -file '${file}' \\\n    -keystore truststore.p12 -storetype PKCS12 -storepass changeit`],
      ['openssl', 'openssl', `openssl x509 -in '${file}' -noout -subject -dates -fingerprint -sha256\nopenssl s_client -connect localhost:${ports.mqtts} -CAfile '${file}' </dev/null`],
    ].map(([id, label, text]) => ({ id, label, panel: () => block(label, text) })),
  });
  return card('Trust and ports', [h('button', { type: 'button', onclick: () => download('iothub-emulator-ca.pem', info.ca_pem, 'application/x-pem-file') }, 'Download CA')],
    info.ca_file ? copyLine('path of the CA', info.ca_file) : h('p', { class: 'muted' }, 'The authority is in memory only: download it.'), shells,
    facts(Object.entries(ports).map(([name, port]) => [names[name] ?? name, h('span', { class: 'mono' }, port,
      usual[name] && usual[name] !== port ? [' ', badge(`SDKs expect ${usual[name]}`, 'warn')] : null)])));
}

// --- What is missing, what holds back ---

async function showNotEmulated(node) {
  const counted = await get('/not-emulated').catch(() => null);
  if (!counted) return;
  const rows = Object.entries(counted).sort(([, a], [, b]) => b - a);
  replace(node, rows.length === 0 ? h('p', { class: 'muted' }, 'Nothing so far.')
    : h('div', { class: 'table-wrap', tabIndex: 0, role: 'group', 'aria-label': 'What was asked for' }, h('table', null, h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'What'), h('th', { scope: 'col', class: 'num' }, 'Times'))),
      h('tbody', null, rows.map(([what, count]) => h('tr', null, h('td', { class: 'mono' }, what), h('td', { class: 'num' }, number(count))))))));
}

async function showThrottles(node) {
  const state = await get('/throttles').catch(() => null);
  node.hidden = !state?.sku;
  if (!state?.sku) return;
  const { quota, throttles } = state;
  replace(node, card(`Throttles of ${state.units} × ${state.sku}`, null,
    h('div', { class: 'quota' }, h('label', null, `${number(quota.used)} of ${number(quota.limit)} messages today `,
      h('meter', { min: 0, max: quota.limit, value: quota.used, high: quota.limit * 0.9 })),
    h('span', { class: 'muted' }, `${Math.round((quota.used / quota.limit) * PERCENT)} % · starts anew ${dateTime(quota.resets)}, in ${duration(Date.parse(quota.resets) - Date.parse(state.time))}`)),
    h('div', { class: 'table-wrap', tabIndex: 0, role: 'group', 'aria-label': 'Each throttle' }, h('table', null,
      h('thead', null, h('tr', null, ['Throttle', 'A minute', 'Available', 'Waiting', 'Delayed', 'Refused'].map((name, index) => h('th', { scope: 'col', class: index ? 'num' : '' }, name)))),
      h('tbody', null, throttles.map((one) => h('tr', null, h('td', null, one.name),
        [one.perMinute, Math.floor(one.available), one.waiting, one.delayed].map((value) => h('td', { class: 'num' }, number(value))),
        h('td', { class: 'num' }, one.refused > 0 ? badge(number(one.refused), 'bad') : '0'))))))));
}
