// Connections: the one there is, the ones that were and why they ended, and who was refused.

import { get } from '../../lib/api.js';
import { duration } from '../../lib/format.js';
import { h, replace } from '../../lib/html.js';
import { badge, card, empty, facts, failure } from '../../lib/ui.js';
import { showTable, when } from './parts.js';

/** Connections and refusals that are kept for the list. */
const KEPT = 200;

export function connectionsTab(page) {
  const past = [];
  const now = h('div');
  const list = h('div');
  const node = h('div', { class: 'stack' },
    card('Now', null, now),
    card('History', h('span', { class: 'muted' }, 'As far back as the timeline goes.'), list));
  showPast();

  async function read() {
    try {
      const session = await page.session();
      replace(now, session ? facts([
        ['Protocol', session.protocol],
        ['Since', when(session.since)], ['Last active', when(session.lastActivityTime)],
        ['Listens for', session.subscriptions.length
          ? session.subscriptions.map((name) => [badge(name, 'info'), ' ']) : 'nothing'],
        ['Token good until', session.expires && when(session.expires)],
        ['Session', session.session]]) : empty('It is not connected.'));
    } catch (refused) {
      replace(now, failure(refused));
    }
  }

  function showPast() {
    showTable(list, 'Connections, the latest first', ['What', 'Began', 'Lasted', 'End'],
      past.map((one) => (one.refusal
        ? [badge('refused', 'bad'), when(one.from), '–',
          [h('b', null, one.refusal.code), ' ', one.refusal.detail]]
        : [[badge(one.until ? 'ended' : 'connected', one.until ? 'none' : 'ok'), ' ', one.protocol],
          one.from ? when(one.from) : 'before',
          one.from && one.until ? duration(Date.parse(one.until) - Date.parse(one.from)) : '–',
          one.until ? [when(one.until), ': ', one.why] : '–'])),
      'None since the timeline begins.');
  }

  function keep(one) {
    past.unshift(one);
    past.length = Math.min(past.length, KEPT);
  }

  read();
  const tick = setInterval(() => { if (!document.hidden && node.isConnected) read(); }, 5000);
  return {
    node,
    read,
    close: () => clearInterval(tick),
    notice(entry, isPast) {
      if (entry.event === 'connected') {
        keep({ from: entry.at, protocol: entry.protocol });
      } else if (entry.event === 'disconnected') {
        const open = past.find((one) => !one.refusal && !one.until);
        if (open) Object.assign(open, { until: entry.at, why: entry.reason });
        else keep({ until: entry.at, why: entry.reason });
      } else if (entry.operation === 'connect' && entry.refusal) {
        keep({ from: entry.at, refusal: entry.refusal });
      } else {
        return;
      }
      page.paint(showPast);
      if (!isPast) page.soon(read);
    },
  };
}
