// Direct methods: call one, and see what was called, by whomever.

import { hub } from '../../lib/api.js';
import { latency } from '../../lib/format.js';
import { h, replace, svg } from '../../lib/html.js';
import { badge, card, failure, field } from '../../lib/ui.js';
import { jsonText, parseJson } from '../../components/json.js';
import { brief, hubNow, pretty, showTable, shorten, when } from './parts.js';

/** Calls that are kept for the list. */
const CALLS = 100;

export function methodsTab(page) {
  const calls = [];
  // The call of this page's that the timeline has not told about yet.
  let mine;

  const names = h('datalist', { id: 'method-names' });
  const name = h('input', { required: true, maxLength: 100, autocomplete: 'off', list: names.id });
  const payload = optionalJson('Payload, as JSON', 'Nothing is fine, too.');
  const response = h('input', { type: 'number', value: 30, min: 1, max: 300, required: true });
  const connect = h('input', { type: 'number', value: 0, min: 0, max: 300, required: true });
  const call = h('button', { class: 'primary' }, 'Call');
  const result = h('div', { 'aria-live': 'polite' },
    h('p', { class: 'muted' }, 'Nothing has been called from here yet.'));
  const trend = h('div', { class: 'toolbar' });
  const history = h('div');
  const node = h('div', { class: 'stack' },
    h('div', { class: 'grid' },
      card('Call a method', null, h('form', { class: 'stack', onsubmit },
        field('Method', name), names, payload.node,
        h('div', { class: 'form' },
          field('Response timeout, s', response),
          field('Wait for it to connect, s', connect)),
        h('div', { class: 'toolbar' }, call))),
      card('Answer', null, result)),
    card('Calls by anybody', trend, history));
  showCalls();

  async function onsubmit(event) {
    event.preventDefault();
    const value = payload.read();
    if (payload.isBroken()) return payload.area.focus();
    const one = { name: name.value, payload: value, at: new Date(hubNow()).toISOString(), here: true };
    mine = one;
    call.disabled = true;
    replace(result, h('p', { class: 'muted' }, `${one.name} is under way…`));
    const begun = performance.now();
    try {
      const { body } = await hub('POST', `/twins${page.client.path}/methods`, {
        methodName: one.name,
        payload: value,
        responseTimeoutInSeconds: Number(response.value),
        connectTimeoutInSeconds: Number(connect.value),
      });
      Object.assign(one, { status: body.status, answer: body.payload });
    } catch (refused) {
      one.refused = refused;
    }
    one.us = (performance.now() - begun) * 1000;
    call.disabled = false;
    // Nobody has told of it: it was refused before it came to the device, or the news is late.
    if (!calls.includes(one)) keep(one);
    replace(result, one.refused ? failure(one.refused) : [
      h('p', null, badge(one.status, one.status < 400 ? 'ok' : 'bad'), ` in ${latency(one.us)}`),
      jsonText(one.answer ?? null)]);
    showCalls();
    return undefined;
  }

  function keep(one) {
    calls.unshift(one);
    calls.length = Math.min(calls.length, CALLS);
  }

  function showCalls() {
    replace(names, [...new Set(calls.map((one) => one.name).filter(Boolean))].map((value) => h('option', { value })));
    replace(trend, sparkline(calls.filter((one) => one.us !== undefined).slice(0, 60).reverse()));
    showTable(history, 'Calls, the latest first',
      ['When', 'Method', 'Payload', 'Status', 'Answer', 'Took', ''], calls.map(row),
      'None yet. What back ends call is seen here, too.');
  }

  function row(one) {
    const { refused } = one;
    return [
      when(one.at), one.name ? [h('code', null, one.name), ' ', one.here && badge('here', 'info')] : '–',
      brief(one.payload),
      refused ? h('span', { class: 'bad-text', title: refused.message }, shorten(refused.message, 48))
        : one.status === undefined ? '…' : badge(one.status, one.status < 400 ? 'ok' : 'bad'),
      brief(one.answer), one.us === undefined ? '' : latency(one.us),
      one.name && h('button', { type: 'button', onclick: () => again(one),
        'aria-label': `Again: ${one.name}` }, 'Again'),
    ];
  }

  function again(one) {
    name.value = one.name;
    payload.area.value = one.payload === undefined ? '' : pretty(one.payload);
    payload.read();
    call.focus();
  }

  return {
    node,
    notice(entry) {
      const payload = entry.payload ?? entry.payload_text ?? entry.payload_hex;
      if (entry.event === 'methodInvoked') {
        const one = mine?.name === entry.method && !mine.call ? mine
          : { name: entry.method, payload, at: entry.at };
        one.call = entry.call;
        one.begun = Date.parse(entry.at);
        if (!calls.includes(one)) keep(one);
      } else if (entry.event === 'methodEnded') {
        const one = calls.find((one) => one.call === entry.call);
        if (!one) return;
        one.us ??= (Date.parse(entry.at) - one.begun) * 1000;
        one.status ??= entry.status;
        one.answer ??= payload;
        if (entry.error) one.refused ??= { message: `${entry.error.code}: ${entry.error.detail}` };
      } else if (entry.operation === 'invokeMethod' && entry.refusal) {
        // The same refusal has been answered to this page, or has ended a call.
        const known = calls.find((one) => one.refused && !one.told)
          ?? (mine && !calls.includes(mine) && mine.us === undefined ? mine : null);
        if (known) known.told = true;
        else keep({ at: entry.at, told: true, refused: { message: `${entry.refusal.code}: ${entry.refusal.detail}` } });
      } else {
        return;
      }
      page.paint(showCalls);
    },
  };
}

/** A field for JSON that may be empty. */
function optionalJson(label, hint) {
  const area = h('textarea', { class: 'code', rows: 6, spellcheck: false, oninput: read });
  const node = field(label, area, hint);
  const note = node.querySelector('.hint');

  function read() {
    let value;
    let message;
    try {
      if (area.value.trim()) value = parseJson(area.value);
    } catch (error) {
      message = error.message;
    }
    area.setAttribute('aria-invalid', String(Boolean(message)));
    note.textContent = message ?? hint;
    note.classList.toggle('bad', Boolean(message));
    return value;
  }

  return { node, area, read, isBroken: () => area.getAttribute('aria-invalid') === 'true' };
}

/** How long calls took, the latest last. */
function sparkline(calls) {
  if (calls.length < 2) return null;
  const [width, height] = [200, 32];
  const most = Math.max(...calls.map((one) => one.us), 1);
  const points = calls.map(({ us }, at) => {
    const x = (at / (calls.length - 1)) * (width - 4) + 2;
    return `${x.toFixed(1)},${(height - 3 - (us / most) * (height - 6)).toFixed(1)}`;
  });
  const label = `Latency of the last ${calls.length} calls, at most ${latency(most)}`;
  return [svg('svg', { viewBox: `0 0 ${width} ${height}`, class: 'dv-spark', role: 'img', 'aria-label': label },
    svg('polyline', { points: points.join(' ') })),
  h('span', { class: 'muted' }, `at most ${latency(most)}`)];
}
