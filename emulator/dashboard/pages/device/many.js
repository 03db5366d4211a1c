// Dialogs for work on many devices: asked for once, with progress, stopped by closing.

import { number } from '../../lib/format.js';
import { h } from '../../lib/html.js';
import { field } from '../../lib/ui.js';
import { jsonEditor } from '../../components/json.js';
import { form, show } from '../../components/dialog.js';
import { toast } from '../../components/toast.js';
import { bulk, idOf, idsOf, inBatches } from './bulk.js';
import { AUTHENTICATION, isId } from './client.js';
import { check, select, table } from './parts.js';

/** From here on the number has to be typed. */
const CAREFUL = 100;

/** Does `work` to each of `ids`, if the person agrees; answers what was done. */
export function onMany({ word, work, ids, count, danger }) {
  const much = danger && count > CAREFUL;
  return carryOut({
    title: `${word} ${number(count)} ${count === 1 ? 'device' : 'devices'}?`,
    submit: word,
    danger,
    body: [
      danger && h('p', null, 'Their twins, their modules and what waits for them go, too.'),
      much && field(`Type ${count} to go on`, h('input', {
        name: 'sure', required: true, pattern: String(count), inputMode: 'numeric', autocomplete: 'off',
      }))],
    plan: () => ({ ids, count, work }),
  });
}

/** Asks for a pattern of ids and adds as many devices. */
export function addMany() {
  const preview = h('p', { class: 'hint', 'aria-live': 'polite' });
  const pattern = h('input', { required: true, value: 'device-{n:4}', autocomplete: 'off', spellcheck: false, oninput: look });
  const count = h('input', { type: 'number', required: true, min: 1, max: 1_000_000, value: 100, oninput: look });
  const first = h('input', { type: 'number', required: true, min: 0, max: 1_000_000_000, value: 1, oninput: look });
  const type = select({}, ['sas', 'certificateAuthority'].map((name) => [name, AUTHENTICATION[name]]));
  const existing = select({}, [['create', 'stay as they are'], ['createOrUpdate', 'are made anew, with new keys']]);
  const disabled = check('Disabled', {});
  const tags = jsonEditor({ label: 'Tags of each', value: {}, rows: 3 });
  look();

  function ends() {
    const from = Number(first.value);
    return [from, from + Number(count.value) - 1].map((n) => idOf(pattern.value, n));
  }

  function look() {
    const [begin, end] = ends();
    const problem = !isId(begin) || !isId(end) ? `“${isId(begin) ? end : begin}” is no device id.`
      : begin === end && Number(count.value) > 1 ? 'It needs {n}, the number: all would be the same.' : '';
    pattern.setCustomValidity(problem);
    preview.textContent = problem || (begin === end ? begin : `${begin} … ${end}`);
  }

  return carryOut({
    title: 'Add many devices',
    submit: 'Add',
    body: [
      field('Pattern of ids', pattern, '{n} is the number; {n:4} has four digits.'), preview,
      h('div', { class: 'form' }, field('How many', count), field('From number', first)),
      h('div', { class: 'form' }, field('Authentication', type), field('Those that exist already', existing)),
      disabled, tags],
    plan: () => {
      const own = tags.read();
      const status = disabled.firstChild.checked ? 'disabled' : 'enabled';
      const [from, many] = [Number(first.value), Number(count.value)];
      const element = (id) => ({
        id, importMode: existing.value, status, authentication: { type: type.value }, tags: own,
      });
      return {
        ids: idsOf(pattern.value, from, many), count: many, work: (ids) => bulk(ids.map(element)),
      };
    },
  });
}

async function carryOut({ plan, body, submit, ...options }) {
  const stop = new AbortController();
  const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Progress' });
  const words = h('span', { class: 'muted', 'aria-live': 'polite' });
  const progress = h('div', { class: 'toolbar dv-progress', hidden: true }, bar, words);
  let count = 0;
  let outcome;
  const asked = form({
    ...options, submit, body: [body, progress],
    onSubmit: async () => {
      const { ids, count: many, work } = plan();
      count = many;
      progress.hidden = false;
      bar.max = many;
      const begun = performance.now();
      outcome = await inBatches(ids, work, {
        signal: stop.signal,
        onProgress: (done, failed) => {
          bar.value = done;
          const rate = (done / (performance.now() - begun)) * 1000;
          words.textContent = `${number(done)} of ${number(many)}, ${number(Math.round(rate))}/s`
            + `${failed.length ? `, ${number(failed.length)} failed` : ''}`;
        },
      });
      return true;
    },
  });
  await asked;
  stop.abort();
  if (!outcome && count === 0) return undefined;
  const { done, failed } = outcome ?? { done: 0, failed: [] };
  if (failed.length) {
    const most = 200;
    await show({ title: `${number(failed.length)} of ${number(done)} failed`, body: h('div', null,
      table('What failed', ['Device', 'Why'], failed.slice(0, most).map(({ id, why }) => [id, why])),
      failed.length > most && h('p', { class: 'muted' }, `and ${number(failed.length - most)} more`)) });
  } else if (outcome) {
    toast(`${submit}: ${number(done)} done.`, { tone: 'ok' });
  }
  return { done, failed };
}
