// JSON to look at and to edit.
//
//   jsonView(value, { open: 2 })          // a tree; so many levels are open; long lists come in parts
//   jsonText(value)                       // coloured text in a <pre>
//   const editor = jsonEditor({ label: 'Desired properties', value, rows: 12, hint, onInput });
//   editor.read()                         // the value; throws an Error that names line and column
//   editor.text, editor.write(value), editor.isChanged()
// The editor is a text area: Tab leaves it, Ctrl-Enter sends its form, the button formats.

import { h, append, uid } from '../lib/html.js';

const PART = 100;
const LONG = 400;

/** A tree of `value`. */
export function jsonView(value, { open = 2 } = {}) {
  return h('div', { class: 'json-view' }, branch(null, value, open));
}

/** `value` as coloured text. */
export function jsonText(value, limit = 100_000) {
  const text = JSON.stringify(value, null, 2) ?? 'undefined';
  const pre = h('pre', { class: 'json-text', tabIndex: 0 });
  const shown = text.slice(0, limit);
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  let at = 0;
  for (const match of shown.matchAll(token)) {
    pre.append(shown.slice(at, match.index));
    const kind = match[2] ? 'key' : match[1] ? 'string' : match[3] ? 'word' : 'number';
    pre.append(h('span', { class: `json-${kind}` }, match[1] ?? match[0]), match[2] ?? '');
    at = match.index + match[0].length;
  }
  append(pre, shown.slice(at), text.length > limit ? '\n…' : null);
  return pre;
}

/** A text area for JSON. */
export function jsonEditor({ label, value, text, rows = 12, hint, onInput }) {
  const id = uid('json');
  const noteId = uid('note');
  let start = text ?? JSON.stringify(value ?? {}, null, 2);
  const note = h('small', { id: noteId, class: 'hint', 'aria-live': 'polite' }, hint ?? '');
  const area = h('textarea', {
    id, rows, class: 'code', spellcheck: false, autocomplete: 'off', 'aria-describedby': noteId, value: start,
    oninput: () => {
      check();
      onInput?.(node);
    },
    onkeydown: (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) area.form?.requestSubmit();
    },
  });
  const node = h('div', { class: 'field json-editor' }, h('div', { class: 'label-line' }, h('label', { for: id }, label),
    h('button', { type: 'button', class: 'quiet', onclick: format, 'aria-label': `Format ${label}` }, 'Format')), area, note);

  function check() {
    try {
      parseJson(area.value);
      area.removeAttribute('aria-invalid');
      note.textContent = hint ?? '';
      note.classList.remove('bad');
      return true;
    } catch (error) {
      area.setAttribute('aria-invalid', 'true');
      note.textContent = error.message;
      note.classList.add('bad');
      return false;
    }
  }

  function format() {
    if (check()) area.value = JSON.stringify(parseJson(area.value), null, 2);
  }

  node.read = () => {
    if (check()) return parseJson(area.value);
    area.focus();
    throw new Error(note.textContent);
  };
  node.write = (next) => {
    start = JSON.stringify(next ?? {}, null, 2);
    area.value = start;
    check();
  };
  node.isChanged = () => area.value !== start;
  Object.defineProperty(node, 'text', { get: () => area.value });
  node.area = area;
  return node;
}

/** Parses; a failure tells line and column. */
export function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    const where = /position (\d+)/.exec(error.message);
    const at = where ? Number(where[1]) : wrongAt(text);
    const before = text.slice(0, at).split('\n');
    const what = error.message.replace(/ in JSON at position.*| at position.*|, "[\s\S]*| is not valid JSON/g, '');
    throw new Error(`Line ${before.length}, column ${before.at(-1).length + 1}: ${what}`, { cause: error });
  }
}

/** Where a text stops being the beginning of JSON: engines do not always tell. */
function wrongAt(text) {
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (isBeginning(text.slice(0, middle))) low = middle;
    else high = middle - 1;
  }
  return low;
}

function isBeginning(text) {
  try {
    JSON.parse(text);
    return true;
  } catch ({ message }) {
    return /end of|Unterminated|unterminated/.test(message) || message.includes(`position ${text.length}`);
  }
}

function branch(name, value, open) {
  const key = name === null ? null : h('span', { class: 'json-key' }, name, ': ');
  if (value === null || typeof value !== 'object') {
    return h('div', { class: 'json-leaf' }, key, leaf(value));
  }
  const entries = Object.entries(value);
  const [left, right] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) return h('div', { class: 'json-leaf' }, key, left + right);
  const body = h('div', { class: 'json-body' });
  const details = h('details', { open: open > 0 }, h('summary', null, key, `${left}${entries.length}${right}`), body);
  let filled = 0;
  const more = h('button', { type: 'button', class: 'quiet', onclick: fill });
  function fill() {
    more.remove();
    for (const [childName, child] of entries.slice(filled, filled + PART)) {
      body.append(branch(childName, child, open - 1));
    }
    filled += PART;
    if (filled < entries.length) {
      more.textContent = `${entries.length - filled} more`;
      body.append(more);
    }
  }
  if (details.open) fill();
  // Filled when opened, so that a large document costs what is looked at.
  details.addEventListener('toggle', () => {
    if (details.open && filled === 0) fill();
  });
  return details;
}

function leaf(value) {
  const kind = typeof value === 'string' ? 'string' : typeof value === 'number' ? 'number' : 'word';
  const text = JSON.stringify(value);
  return h('span', { class: `json-${kind}`, title: text.length > LONG ? text : null }, text.length > LONG ? `${text.slice(0, LONG)}…` : text);
}
