// Twin: desired, reported and tags side by side; what is changed, and what has been.

import { hub } from '../../lib/api.js';
import { h, replace } from '../../lib/html.js';
import { card, failure } from '../../lib/ui.js';
import { jsonEditor, jsonText } from '../../components/json.js';
import { differences, withoutMetadata, written } from './properties.js';
import { hubNow, pretty, table, when } from './parts.js';

/** Changes that are kept for the list. */
const CHANGES = 200;

const SECTIONS = [
  ['desired', 'Desired', 'What the back end wants. A connected device is told of each change.'],
  ['reported', 'Reported', 'What the device says. Only it writes here.'],
  ['tags', 'Tags', 'What the back end notes. The device does not see it.'],
];

const sectionOf = (twin, name) => (name === 'tags' ? twin.tags : twin.properties[name]) ?? {};

export function twinTab(page) {
  const path = `/twins${page.client.path}`;
  const told = h('div', { class: 'dv-told', role: 'status' });
  const summary = h('span', { class: 'muted' });
  const history = h('ol', { class: 'dv-changes', tabIndex: 0, 'aria-label': 'Changes, the latest first' });
  /** What each section became, in the order of the twin's versions. */
  const states = [];
  let twin;

  const sections = SECTIONS.map(([name, label, hint]) => section(name, label, hint));
  const node = h('div', { class: 'stack' }, told,
    h('div', { class: 'grid three' }, sections.map((one) => one.node)),
    card('Changes', [summary, h('button', { type: 'button', onclick: read }, 'Read again')], history));
  showChanges();

  function section(name, label, hint) {
    const writable = name !== 'reported';
    const state = h('p', { class: 'hint', 'aria-live': 'polite' });
    const editor = writable && jsonEditor({ label: `${label}, as JSON`, onInput: look });
    const view = writable ? editor : h('div');
    const version = h('span', { class: 'muted' });
    const button = (word, title, onclick) => h('button', { type: 'button', title, onclick }, word);
    const merge = button('Merge', 'PATCH: what stands here is set, null deletes, the rest stays',
      () => write('PATCH'));
    const whole = button('Replace', 'PUT: it becomes exactly what stands here', () => write('PUT'));
    const revert = button('Revert', 'Back to what the hub has', () => show(true));
    const times = h('div');
    const details = h('details', { ontoggle: showTimes }, h('summary', null, 'Last written'), times);
    // What an edit began with.
    let base;
    let etag;

    const isEdited = () => writable && editor.isChanged();

    function show(force) {
      const own = sectionOf(twin, name);
      const now = withoutMetadata(own);
      version.textContent = own.$version ? `version ${own.$version}` : '';
      if (!writable) {
        replace(view, jsonText(now));
      } else if (force || !isEdited()) {
        if (force || pretty(now) !== base) editor.write(now);
        base = pretty(now);
        editor.area.rows = Math.max(6, Math.min(24, base.split('\n').length + 1));
        etag = twin.etag;
      }
      look();
      showTimes();
    }

    function look() {
      if (!writable) return;
      const isBroken = editor.area.getAttribute('aria-invalid') === 'true';
      const behind = pretty(withoutMetadata(sectionOf(twin, name))) !== base;
      state.textContent = !isEdited() ? '' : behind
        ? 'Not saved, and the hub has something else by now.' : 'Not saved.';
      merge.disabled = whole.disabled = isBroken || !isEdited();
      revert.disabled = !isEdited();
    }

    function showTimes() {
      if (!details.open || !twin) return;
      const rows = written(sectionOf(twin, name).$metadata);
      replace(times, table(`When ${name} was written`, ['Property', 'Written', 'Version'],
        rows.map(([property, { at, version }]) => [h('code', null, property), when(at), version])));
    }

    async function write(method, force = false) {
      const value = editor.read();
      const body = name === 'tags' ? { tags: value } : { properties: { desired: value } };
      const sent = editor.text;
      try {
        const headers = { 'If-Match': force ? '"*"' : `"${etag}"` };
        const { body: now } = await hub(method, path, body, headers);
        replace(told);
        twin = now;
        // What was typed meanwhile stays.
        if (editor.text === sent) show(true);
        else etag = now.etag;
        take(now);
      } catch (refused) {
        replace(told, refused.status !== 412 ? failure(refused) : conflict(method));
        if (refused.status === 412) await read();
      }
    }

    function conflict(method) {
      return h('div', { class: 'failure', role: 'alert' },
        h('b', null, 'Conflict: '), 'the twin has been changed since you began.',
        h('div', { class: 'toolbar' },
          button('Take theirs', null, () => { replace(told); show(true); }),
          button('Write mine all the same', null, () => write(method, true))));
    }

    const node = h('section', { class: 'card', 'aria-label': label },
      h('header', null, h('h2', null, label), version),
      h('p', { class: 'hint' }, hint), view, state,
      writable && h('div', { class: 'toolbar' }, merge, whole, revert),
      name !== 'tags' && details);
    return { node, show, isEdited };
  }

  function take(now) {
    twin = now;
    noteAll();
    replace(summary, `Version ${now.version} · etag `, h('code', null, now.etag),
      now.modelId && [' · model ', h('code', null, now.modelId)]);
    for (const one of sections) one.show();
  }

  /** Notes what a section has become; the same state is told by the hub and read by this page. */
  function note(version, name, state, at) {
    const before = states.findLast((one) => one.name === name && one.version <= version);
    if (before?.version === version) {
      // When it was, instead of when it was read.
      if (at < before.at) before.at = at;
    } else if (!before || differences(before.state, state).length > 0) {
      // What has been read is told afterwards, with what was before it.
      const place = states.findLastIndex((one) => one.version <= version) + 1;
      states.splice(place, 0, { version, name, state, at });
      states.splice(0, Math.max(0, states.length - CHANGES));
    }
    page.paint(showChanges);
  }

  function noteAll() {
    const at = new Date(hubNow()).toISOString();
    for (const [name] of SECTIONS) note(twin.version, name, sectionOf(twin, name), at);
  }

  function showChanges() {
    const last = {};
    const changes = states.flatMap(({ name, state, at }) => {
      const different = last[name] ? differences(last[name], state) : [];
      last[name] = state;
      return different.length ? [{ name, version: state.$version, at, different }] : [];
    }).reverse();
    replace(history, changes.length === 0
      ? h('li', { class: 'muted' }, 'None as far back as the timeline goes.')
      : changes.map(({ at, name, version, different }) => h('li', null,
        h('p', null, h('b', null, name), version ? ` version ${version}, ` : ' ', when(at)),
        h('ul', { class: 'mono' }, different.map(({ path, before, after }) => h('li', null,
          `${path || 'all'}: `, before !== undefined && h('del', null, JSON.stringify(before)),
          ' ', after !== undefined && h('ins', null, JSON.stringify(after))))))));
  }

  async function read() {
    try {
      take((await hub('GET', path)).body);
    } catch (refused) {
      replace(told, failure(refused));
    }
  }

  read();
  return {
    node,
    read,
    notice(entry, isPast) {
      if (entry.event === 'identityChanged' && entry.change === 'created') {
        // Another device of this name was before it.
        states.length = 0;
        if (twin) noteAll();
      }
      if (entry.event !== 'twinChanged') return;
      for (const [name] of SECTIONS) if (entry[name]) note(entry.version, name, entry[name], entry.at);
      // What has been read since says it, too.
      if (!isPast && !(twin && entry.version <= twin.version)) page.soon(read);
    },
    isEdited: () => sections.some((one) => one.isEdited()),
  };
}
