// diffView(before, after)            // values; lines of their formatted JSON, changes marked
// diffView(before, after, { context: 3, empty: 'No change.' })
// Unchanged stretches are folded to `context` lines. `diffLines(a, b)` answers the raw
// [{ mark: ' ' | '+' | '-', text }].

import { h } from '../lib/html.js';

/** Cells of the table that the comparison may take; beyond it the whole middle counts as changed. */
const LARGEST = 4_000_000;

/** What changed from `before` to `after`. */
export function diffView(before, after, { context = 3, empty = 'No change.' } = {}) {
  const lines = diffLines(toLines(before), toLines(after));
  if (lines.every((line) => line.mark === ' ')) return h('p', { class: 'muted' }, empty);
  const near = lines.map((_, index) => lines
    .slice(Math.max(0, index - context), index + context + 1)
    .some((line) => line.mark !== ' '));
  const out = [];
  for (let index = 0; index < lines.length; index += 1) {
    const { mark, text } = lines[index];
    if (near[index]) {
      const tag = { '+': 'ins', '-': 'del', ' ': 'span' }[mark];
      out.push(h(tag, { class: 'diff-line' }, h('i', { 'aria-hidden': 'true' }, mark), text, '\n'));
    } else if (index === 0 || near[index - 1]) {
      out.push(h('span', { class: 'diff-line fold' }, '⋯\n'));
    }
  }
  return h('pre', { class: 'diff', tabIndex: 0, 'aria-label': 'Changes' }, out);
}

/** The shortest change from lines `a` to lines `b`. */
export function diffLines(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (lines) => lines.map((text) => ({ mark: ' ', text }));
  const left = a.slice(start, a.length - end);
  const right = b.slice(start, b.length - end);
  return [...same(a.slice(0, start)), ...middle(left, right), ...same(a.slice(a.length - end))];
}

function middle(a, b) {
  if (a.length * b.length > LARGEST || a.length === 0 || b.length === 0) {
    return [...a.map((text) => ({ mark: '-', text })), ...b.map((text) => ({ mark: '+', text }))];
  }
  // Longest common subsequence, from the end.
  const width = b.length + 1;
  const table = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * width + j] = a[i] === b[j]
        ? table[(i + 1) * width + j + 1] + 1
        : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  const out = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      out.push({ mark: ' ', text: a[i] });
      i += 1;
      j += 1;
    } else if (j === b.length || (i < a.length && table[(i + 1) * width + j] >= table[i * width + j + 1])) {
      out.push({ mark: '-', text: a[i] });
      i += 1;
    } else {
      out.push({ mark: '+', text: b[j] });
      j += 1;
    }
  }
  return out;
}

function toLines(value) {
  return value === undefined ? [] : JSON.stringify(value, null, 2).split('\n');
}
