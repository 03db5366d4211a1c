// One device or module: what it is, and everything that can be done to it.

import { get } from '../lib/api.js';
import { number } from '../lib/format.js';
import { h, replace } from '../lib/html.js';
import { href, setParams } from '../lib/router.js';
import { stream } from '../lib/stream.js';
import { badge, failure, frame, pageHead } from '../lib/ui.js';
import { tabs } from '../components/tabs.js';
import { Client, identityOf } from './device/client.js';
import { connectionsTab } from './device/connections.js';
import { identityTab } from './device/identity.js';
import { messagesTab } from './device/messages.js';
import { methodsTab } from './device/methods.js';
import { modulesTab } from './device/modules.js';
import { later, presence, readClock } from './device/parts.js';
import { twinTab } from './device/twin.js';

/** What has happened that is kept for tabs that are opened later. */
const ENTRIES = 2000;
/** Several notices in a row make one request. */
const SOON = 200;

/** What tabs are made of. Telemetry is not: there may be a lot of it. */
const EVENTS = 'connected,disconnected,methodInvoked,methodEnded,twinChanged,identityChanged,'
  + 'c2dSent,c2dDelivered,c2dReturned,c2dEnded';
/** Notices after which the identity is read again. */
const OF_THE_IDENTITY = ['connected', 'disconnected', 'identityChanged', 'c2dSent', 'c2dEnded'];

const TABS = [
  ['identity', 'Identity', identityTab], ['twin', 'Twin', twinTab], ['methods', 'Methods', methodsTab],
  ['messages', 'Messages', messagesTab], ['modules', 'Modules', modulesTab],
  ['connections', 'Connections', connectionsTab],
];

export const title = ({ id, module }) => (module ? `${id}/${module}` : id ?? 'Device');

export async function mount(root, params) {
  if (!params.id) throw new Error('Which device? The address has no id.');
  const client = new Client(params.id, params.module);
  const state = h('p', { class: 'lead toolbar', 'aria-live': 'polite' });
  const gone = h('div', { class: 'dv-told' });
  const opened = new Map();
  const entries = [];
  const asked = new Map();
  const painters = new Map();
  let missed = 0;

  const page = {
    client,
    identity: null,
    session: async () => {
      const all = await get(`/connections/${encodeURIComponent(client.device)}`);
      return all.find((one) => one.client === client.name);
    },
    /** The identity as it now is. */
    take(identity) {
      page.identity = identity;
      showState();
      for (const tab of opened.values()) tab.identity?.(identity);
    },
    async refresh() {
      try {
        page.take(await identityOf(client));
        return replace(gone);
      } catch (refused) {
        if (refused.status !== 404) return replace(gone, failure(refused));
        replace(state, badge('not registered', 'bad'));
        replace(gone, h('div', { class: 'failure', role: 'alert' },
          h('b', null, client.name), page.identity ? ' has been deleted while you looked at it. What you see is what it was.'
            : ' is not registered. Ids tell upper and lower case apart.'));
      }
    },
    /** A little later, once for several notices. */
    soon(work) {
      if (!asked.has(work)) asked.set(work, later(work, SOON));
      asked.get(work)();
    },
    /** Once a frame. */
    paint(work) {
      if (!painters.has(work)) painters.set(work, frame(work));
      painters.get(work)();
    },
  };

  async function showState() {
    const { identity } = page;
    const session = identity.connectionState === 'Connected' ? await page.session().catch(() => null) : null;
    replace(state, presence(identity.connectionState, session?.protocol),
      identity.status === 'disabled' && badge('disabled', 'warn'),
      identity.capabilities?.iotEdge && badge('IoT Edge', 'info'),
      identity.statusReason && h('span', { class: 'muted' }, identity.statusReason),
      missed > 0 && badge(`${number(missed)} entries missed`, 'warn'));
  }

  const link = (label, to, device) => h('a', { class: 'button', href: href(to, { device }) }, label);
  const head = pageHead(client.module ?? client.device, null, link('Telemetry', 'telemetry', client.device),
    link('Wire', 'wire', client.name));
  head.firstChild.prepend(h('nav', { class: 'muted', 'aria-label': 'Where this is' },
    h('a', { href: '#/devices' }, 'Devices'), ' / ',
    client.module && [h('a', { href: new Client(client.device).href }, client.device), ' / ']));
  head.firstChild.append(state);
  root.append(head, gone);

  await Promise.all([page.refresh(), readClock().catch(() => {})]);
  if (!page.identity) return undefined;
  const shown = tabs({
    label: `${client.name}`,
    selected: params.tab,
    onSelect: (tab) => setParams({ tab }),
    items: TABS.filter(([id]) => id !== 'modules' || !client.module)
      .map(([id, label, make]) => ({ id, label, panel: () => open(id, make) })),
  });
  root.append(shown);

  function open(id, make) {
    const tab = make(page);
    opened.set(id, tab);
    for (const entry of entries) tab.notice?.(entry, true);
    return tab;
  }

  function take(entry, isPast = false) {
    // What is about a device is also about its modules.
    if (entry.client !== client.name) {
      if (!isPast) opened.get('modules')?.below(entry);
      return;
    }
    entries.push(entry);
    if (entries.length > ENTRIES) entries.splice(0, ENTRIES / 4);
    for (const tab of opened.values()) tab.notice?.(entry, isPast);
    if (!isPast && OF_THE_IDENTITY.includes(entry.event)) page.soon(page.refresh);
  }

  const what = `/timeline?client=${encodeURIComponent(client.name)}&kinds=notice,refusal&events=${EVENTS}`;
  const past = await lines(`${what}&max=${ENTRIES / 2}`);
  for (const entry of past) take(entry, true);
  const live = stream((last) => `${what}&after=${last ?? past.at(-1)?.seq ?? 'latest'}`, {
    onData: (entry) => take(entry),
    onMissed: (count) => {
      missed += count;
      page.soon(page.refresh);
      for (const tab of opened.values()) if (tab.read) page.soon(tab.read);
    },
  });
  const leave = (event) => {
    if ([...opened.values()].some((tab) => tab.isEdited?.())) event.preventDefault();
  };
  addEventListener('beforeunload', leave);

  return () => {
    removeEventListener('beforeunload', leave);
    live.close();
    shown.close();
    for (const ask of asked.values()) ask.stop();
  };
}

/** A JSON document a line. */
async function lines(path) {
  const told = await get(path).catch(() => '');
  // A single line is a document by itself.
  if (typeof told !== 'string') return told ? [told] : [];
  return told.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}
