// A box for the hub's query language: what is wrong is shown where it is.

import { h, replace } from '../../lib/html.js';
import { field } from '../../lib/ui.js';
import { select } from './parts.js';

const EXAMPLES = [
  ["SELECT * FROM devices WHERE connectionState = 'Connected'", 'Connected now'],
  ["SELECT * FROM devices WHERE status = 'disabled'", 'Disabled'],
  ['SELECT * FROM devices WHERE capabilities.iotEdge = true', 'IoT Edge devices'],
  ["SELECT * FROM devices WHERE tags.site = 'north' AND tags.floor >= 2", 'By tags'],
  ['SELECT * FROM devices WHERE properties.reported.temperature > 30', 'By a reported property'],
  ["SELECT * FROM devices WHERE STARTSWITH(deviceId, 'sensor-')", 'By the beginning of the id'],
  ['SELECT * FROM devices WHERE NOT IS_DEFINED(tags.site)', 'Without a tag'],
  ['SELECT * FROM devices.modules', 'Modules'],
  ['SELECT deviceId, properties.reported.firmware AS firmware FROM devices', 'Some properties of each'],
  ['SELECT status, COUNT() AS devices FROM devices GROUP BY status', 'How many of each status'],
];

export function queryBox({ text = EXAMPLES[0][0], run }) {
  const wrong = h('pre', { class: 'dv-wrong', id: 'query-wrong', role: 'alert', hidden: true });
  const area = h('textarea', {
    class: 'code', rows: 2, spellcheck: false, value: text, 'aria-describedby': wrong.id,
    onkeydown: (event) => {
      if (event.key !== 'Enter' || event.shiftKey) return;
      event.preventDefault();
      ask();
    },
  });
  const examples = select({
    'aria-label': 'Examples',
    onchange: () => {
      area.value = examples.value;
      examples.selectedIndex = 0;
      area.focus();
      ask();
    },
  }, [['', 'Examples…'], ...EXAMPLES]);
  const node = h('form', { class: 'card', onsubmit: (event) => { event.preventDefault(); ask(); } },
    field('Query in the hub’s language', area, 'Enter asks; Shift and Enter begin a new line.'), wrong,
    h('div', { class: 'toolbar' }, h('button', { class: 'primary' }, 'Ask'), examples));

  function ask() {
    run(area.value.trim());
  }

  /** Shows where the query stops being one; `null`: nowhere. */
  function refused(error) {
    wrong.hidden = !error;
    area.setAttribute('aria-invalid', String(Boolean(error)));
    if (!error) return;
    const chars = [...area.value.trim()];
    const position = error.body?.position ?? Number(/position (\d+)/.exec(error.message)?.[1]);
    const what = error.message.replace(/^The query is invalid at position \d+: /, '');
    if (!position) return replace(wrong, error.message);
    const at = position - 1;
    const begin = chars.lastIndexOf('\n', at - 1) + 1;
    const end = [chars.indexOf('\n', at), chars.length].find((index) => index >= at);
    const word = /^[\w$.]+|^./u.exec(chars.slice(at).join(''))?.[0] ?? ' ';
    const length = [...word].length;
    const part = (from, to) => chars.slice(from, to).join('');
    replace(wrong, part(begin, at), h('mark', null, word), part(at + length, end), '\n',
      ' '.repeat(at - begin), h('b', null, '^'.repeat(length)), `\nPosition ${position}: ${what}`);
    const blank = area.value.length - area.value.trimStart().length;
    const start = blank + part(0, at).length;
    area.setSelectionRange(start, start + word.length);
  }

  return { node, refused, focus: () => area.focus() };
}
