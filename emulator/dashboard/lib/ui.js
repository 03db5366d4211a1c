// Small pieces that every page is made of.
//
//   pageHead('Devices', '1,204 registered', button)       // the page's <h1>; once a page
//   card('Keys', [button], child, …)                      // titled section with actions
//   badge('enabled', 'ok')                                // tones: ok, warn, bad, info, none
//   field('Device id', h('input', {…}), 'hint')           // label, control, hint, wired up
//   facts([['Etag', etag], ['Status', badge(…)]])         // <dl>; null values are left out
//   empty('No devices yet.', button)                      // a list that has nothing
//   failure(error)                                        // what went wrong, as role=alert
//   busy(button, async () => …)                           // disabled meanwhile; failures as a toast
//   debounce(f, 200), frame(f)                            // once things calm down; once a frame

import { h, uid } from './html.js';
import { toast } from '../components/toast.js';

/** The head of a page. */
export function pageHead(title, text, ...actions) {
  return h('header', { class: 'page-head' },
    h('div', null, h('h1', { tabIndex: -1 }, title), text ? h('p', { class: 'lead' }, text) : null),
    actions.length ? h('div', { class: 'toolbar' }, actions) : null);
}

/** A titled section. */
export function card(title, actions, ...children) {
  const id = uid('card');
  return h('section', { class: 'card', 'aria-labelledby': id },
    h('header', null, h('h2', { id }, title), h('div', { class: 'toolbar' }, actions)), children);
}

/** A word with a tone; the tone is never all that tells. */
export function badge(text, tone = 'none') {
  return h('span', { class: `badge ${tone}` }, text);
}

/** A control with its label. */
export function field(label, control, hint) {
  const target = control.matches('input,select,textarea') ? control : control.querySelector('input,select,textarea');
  const id = target.id || (target.id = uid('field'));
  const hintId = hint ? uid('hint') : null;
  if (hintId) target.setAttribute('aria-describedby', hintId);
  return h('div', { class: 'field' }, h('label', { for: id }, label), control,
    hint ? h('small', { id: hintId, class: 'hint' }, hint) : null);
}

/** Names and values. */
export function facts(pairs) {
  const rows = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h('dl', { class: 'facts' }, rows.map(([name, value]) => [h('dt', null, name), h('dd', null, value)]));
}

/** What stands in the place of a list that has nothing. */
export function empty(text, ...actions) {
  return h('div', { class: 'empty' }, h('p', null, text), actions);
}

/** A failure, in place. */
export function failure(error) {
  const code = error?.code && !/^\d+$/.test(error.code) ? h('b', null, `${error.code} `) : null;
  return h('div', { class: 'failure', role: 'alert' }, code, String(error?.message ?? error));
}

/** Runs `work` while `button` is disabled; tells failures. */
export async function busy(button, work) {
  button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  try {
    return await work();
  } catch (error) {
    toast(String(error?.message ?? error), { tone: 'bad' });
    return undefined;
  } finally {
    button.disabled = false;
    button.removeAttribute('aria-busy');
  }
}

/** `f` once `ms` have passed without another call. */
export function debounce(f, ms) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(f, ms, ...args);
  };
}

/** `f` at most once a frame; rests while the page is hidden. */
export function frame(f) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      f();
    });
  };
}
