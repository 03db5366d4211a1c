// toast('Deleted', { tone: 'ok' | 'bad' | 'info', action: { label: 'Undo', run } })
// A short message at the edge; failures stay longer. Read out by screen readers.

import { h } from '../lib/html.js';

const MOST = 4;

/** Shows a message. */
export function toast(text, { tone = 'info', action = null } = {}) {
  const list = document.getElementById('toasts');
  const close = () => node.remove();
  const node = h('div', { class: `toast ${tone}` }, h('span', null, text),
    action ? h('button', { type: 'button', onclick: () => { close(); action.run(); } }, action.label) : null,
    h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Dismiss', onclick: close }, '×'));
  while (list.children.length >= MOST) list.firstChild.remove();
  list.append(node);
  setTimeout(close, tone === 'bad' ? 12_000 : 4000);
}
