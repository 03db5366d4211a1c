// tabs({ label: 'Device', selected: 'twin', onSelect: (id) => setParams({ tab: id }),
//        items: [{ id: 'twin', label: 'Twin', panel: () => node, keep: true }, …] })
// An element with a tab list and one panel. A panel is made when it is first shown and kept; with
// `keep: false` it is made anew each time, and what its `panel` function answers may be
// `{ node, close }`: `close` is called when it goes. `element.select(id)` shows a tab;
// `element.close()` ends what is open. Arrow keys, Home and End move.

import { h, uid } from '../lib/html.js';

/** A tab list with its panels. */
export function tabs({ label, items, selected = items[0].id, onSelect }) {
  const prefix = uid('tab');
  const made = new Map();
  let current = null;
  const buttons = items.map((item) => h('button', {
    type: 'button', role: 'tab', id: `${prefix}-${item.id}`, 'aria-controls': `${prefix}-panel`,
    onclick: () => choose(item.id, true),
  }, item.label));
  const panel = h('div', { class: 'tab-panel', role: 'tabpanel', id: `${prefix}-panel`, tabIndex: 0 });
  const list = h('div', { class: 'tab-list', role: 'tablist', 'aria-label': label, onkeydown: move }, buttons);
  const element = h('div', { class: 'tabs' }, list, panel);

  function choose(id, tell = false) {
    const item = items.find((one) => one.id === id) ?? items[0];
    if (current === item) return;
    leave();
    current = item;
    items.forEach((one, index) => {
      buttons[index].setAttribute('aria-selected', String(one === item));
      buttons[index].tabIndex = one === item ? 0 : -1;
    });
    panel.setAttribute('aria-labelledby', `${prefix}-${item.id}`);
    if (!made.has(item.id)) made.set(item.id, item.panel());
    const shown = made.get(item.id);
    panel.replaceChildren(shown.node ?? shown);
    if (tell) onSelect?.(item.id);
  }

  function leave() {
    if (current?.keep !== false) return;
    made.get(current.id)?.close?.();
    made.delete(current.id);
  }

  function move(event) {
    const at = items.indexOf(current);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + items.length) % items.length;
    choose(items[next].id, true);
    buttons[next].focus();
  }

  element.select = (id) => choose(id);
  element.close = () => {
    for (const shown of made.values()) shown.close?.();
    made.clear();
  };
  choose(selected);
  return element;
}
