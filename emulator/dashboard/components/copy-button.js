// copyButton(textOrFunction, 'Copy')                   // a button that copies
// secret(value, 'primary key')                         // a masked value with show and copy
// copyLine('connection string', value)                 // a value in full with its copy button

import { h } from '../lib/html.js';
import { copy } from '../lib/copy.js';
import { toast } from './toast.js';

/** Copies `source`, or what it answers (a promise, too). */
export function copyButton(source, label = 'Copy', name = '') {
  const button = h('button', { type: 'button', class: 'copy', 'aria-label': name ? `${label} ${name}` : null }, label);
  button.addEventListener('click', async () => {
    const text = typeof source === 'function' ? await source() : source;
    const done = await copy(text);
    if (!done) return toast('The browser does not let this page copy.', { tone: 'bad' });
    toast(name ? `Copied the ${name}.` : 'Copied.', { tone: 'ok' });
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = label; }, 1500);
    return undefined;
  });
  return button;
}

/** A value that is shown only when asked for. */
export function secret(value, name) {
  const text = h('code', { class: 'value' });
  const toggle = h('button', { type: 'button', class: 'copy', onclick: () => put(!shown) });
  let shown = false;
  function put(next) {
    shown = next;
    text.textContent = shown ? value : '•'.repeat(Math.min(value.length, 24));
    toggle.textContent = shown ? 'Hide' : 'Show';
    toggle.setAttribute('aria-label', `${shown ? 'Hide' : 'Show'} ${name}`);
    toggle.setAttribute('aria-pressed', String(shown));
  }
  put(false);
  return h('span', { class: 'copy-line' }, text, toggle, copyButton(value, 'Copy', name));
}

/** A value in full. */
export function copyLine(name, value) {
  return h('span', { class: 'copy-line' }, h('code', { class: 'value' }, value), copyButton(value, 'Copy', name));
}
