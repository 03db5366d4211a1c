// Cloud-to-device messages: send one, see the queue, and what became of each.

import { get, hub } from '../../lib/api.js';
import { bytes, duration } from '../../lib/format.js';
import { encode, fromBase64 } from '../../lib/bytes.js';
import { h, replace } from '../../lib/html.js';
import { confirm } from '../../components/dialog.js';
import { toast } from '../../components/toast.js';
import { badge, busy, card, failure, field } from '../../lib/ui.js';
import { brief, hubNow, pretty, select, showTable, when } from './parts.js';

/** Ended messages that are kept for the list. */
const ENDED = 100;

const OUTCOMES = {
  Success: 'ok', Rejected: 'bad', Expired: 'warn', DeliveryCountExceeded: 'bad', Purged: 'warn',
};

export function messagesTab(page) {
  const path = `/devices${page.client.path}`;
  const ended = [];
  const queue = h('div');
  const count = h('span', { class: 'muted' });
  const outcome = h('div');
  const composer = composeMessage(path, () => read());
  const purge = h('button', { type: 'button', class: 'danger', onclick: purgeAll }, 'Purge');
  const node = h('div', { class: 'stack' },
    h('div', { class: 'grid' }, composer,
      card('What became of them', null, outcome)),
    card('Queue', [count, purge], queue));
  showEnded();

  async function read() {
    try {
      const told = await get(`/devices${page.client.path}/c2d`);
      show(told.messages, told.total);
    } catch (refused) {
      replace(queue, failure(refused));
    }
  }

  function show(messages, total) {
    purge.disabled = total === 0;
    count.textContent = `${total} waiting`;
    showTable(queue, 'Messages in the queue, the next first',
      ['#', 'Message id', 'State', 'Deliveries', 'Enqueued', 'Expires', 'Feedback', 'Body', 'Properties'],
      messages.map((one) => [
        one.sequence, h('code', null, one.messageId ?? '–'), state(one), one.deliveryCount,
        when(one.enqueued), one.expires ? when(one.expires) : '–', one.ack ?? 'none', body(one),
        properties(one),
      ]), 'Nothing waits for this device.');
  }

  function state(one) {
    if (one.state !== 'locked') return badge('enqueued', 'info');
    const left = Date.parse(one.lockedUntil) - hubNow();
    return [badge('locked', 'warn'),
      left > 0 && h('small', { title: one.lockToken }, ` for ${duration(left)} more`)];
  }

  async function purgeAll() {
    if (!await confirm({ title: `Purge the queue of ${page.client.name}?`, danger: true, action: 'Purge',
      text: 'Who asked for feedback is told that they were purged.' })) return;
    await busy(purge, async () => {
      const { body: purged } = await hub('DELETE', `${path}/commands`);
      toast(`${purged.totalMessagesPurged} purged.`, { tone: 'ok' });
    });
    read();
  }

  function showEnded() {
    showTable(outcome, 'Messages that have left the queue, the latest first',
      ['When', '#', 'Message id', 'Outcome', 'Deliveries'],
      ended.map(({ at, sequence, messageId, outcome: end, deliveryCount }) =>
        [when(at), sequence, h('code', null, messageId ?? '–'), badge(end, OUTCOMES[end]), deliveryCount]),
      'None has left the queue since the timeline begins.');
  }

  read();
  // Locks and messages expire without a word until the hub looks at them.
  const tick = setInterval(() => { if (!document.hidden && node.isConnected) read(); }, 3000);
  return {
    node,
    read,
    close: () => clearInterval(tick),
    notice(entry, isPast) {
      if (!entry.event?.startsWith('c2d')) return;
      if (entry.event === 'c2dEnded') {
        ended.unshift(entry);
        ended.length = Math.min(ended.length, ENDED);
        page.paint(showEnded);
      }
      if (!isPast) page.soon(read);
    },
  };
}

function body(one) {
  if (typeof one.body === 'string') return brief(one.body);
  if (one.body_base64 === undefined) return null;
  return [h('small', null, `${bytes(fromBase64(one.body_base64).length)} `), brief(one.body_base64)];
}

function properties(one) {
  const all = { ...one.systemProperties, ...one.properties };
  const count = Object.keys(all).length;
  return count > 0 && h('details', null, h('summary', null, count), h('pre', null, pretty(all)));
}

const HEADERS = [
  ['iothub-messageid', 'Message id'], ['iothub-correlationid', 'Correlation id'],
  ['iothub-contenttype', 'Content type', 'application/json'],
  ['iothub-contentencoding', 'Content encoding', 'utf-8'],
];

function composeMessage(path, sent) {
  const text = h('textarea', { class: 'code', rows: 5, spellcheck: false });
  const encoding = select({}, [['text', 'Text'], ['base64', 'Base64']]);
  const inputs = HEADERS.map(([name, label, placeholder]) =>
    [name, label, h('input', { maxLength: 128, placeholder, autocomplete: 'off' })]);
  const ack = select({}, ['none', 'positive', 'negative', 'full'].map((value) => [value]));
  const expiry = h('input', { type: 'number', min: 1, max: 172_800, placeholder: '3600' });
  const rows = h('div');
  const send = h('button', { class: 'primary' }, 'Send');
  const problem = h('div');

  function addProperty() {
    const name = h('input', { 'aria-label': 'Property name', placeholder: 'name', required: true });
    const row = h('div', { class: 'dv-property' }, name,
      h('input', { 'aria-label': 'Property value', placeholder: 'value' }),
      h('button', { type: 'button', 'aria-label': 'Remove property', onclick: () => row.remove() }, '×'));
    rows.append(row);
    name.focus();
  }

  function headers() {
    const all = { 'iothub-ack': ack.value };
    for (const [name, , input] of inputs) if (input.value) all[name] = raw(input.value);
    if (expiry.value) {
      all['iothub-expiry'] = new Date(hubNow() + Number(expiry.value) * 1000).toISOString();
    }
    for (const row of rows.children) {
      const [name, value] = row.querySelectorAll('input');
      all[`iothub-app-${name.value}`] = raw(value.value);
    }
    return { 'content-type': 'application/octet-stream', ...all };
  }

  async function onsubmit(event) {
    event.preventDefault();
    replace(problem);
    try {
      const content = encoding.value === 'text' ? encode(text.value) : fromBase64(text.value);
      await hub('POST', `${path}/messages/deviceBound`, content, headers());
      toast('The message is in the queue.', { tone: 'ok' });
      sent();
    } catch (refused) {
      const isBase64 = refused.name !== 'InvalidCharacterError';
      replace(problem, failure(isBase64 ? refused : 'The body is not base64.'));
    }
  }

  return card('Send a message', null, h('form', { class: 'stack', onsubmit },
    field('Body', text),
    h('div', { class: 'form' }, field('The body is', encoding),
      inputs.map(([, label, input]) => field(label, input)),
      field('Expires after, s', expiry), field('Feedback', ack)),
    h('fieldset', null, h('legend', null, 'Application properties'),
      h('p', { class: 'muted' }, 'Names arrive in lower case: they travel as headers.'), rows,
      h('div', { class: 'toolbar' }, h('button', { type: 'button', onclick: addProperty }, 'Add property'))),
    problem, h('div', { class: 'toolbar' }, send)));
}

/** Headers carry bytes: the hub reads them as UTF-8. */
function raw(text) {
  return String.fromCharCode(...encode(text));
}
