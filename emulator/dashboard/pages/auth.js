// The auth doctor: why a credential is refused, and how to mend it.
//
// `#/auth?client=d1` begins with a device. What is pasted never becomes part of the address.

import { h, replace } from '../lib/html.js';
import { get, isAbort, send } from '../lib/api.js';
import { badge, busy, card, debounce, empty, failure, field, pageHead } from '../lib/ui.js';
import { setParams } from '../lib/router.js';
import { copyButton, copyLine } from '../components/copy-button.js';
import { table } from './device/parts.js';

export const title = 'Auth doctor';

const KINDS = {
  sas: 'a shared access signature', connectionString: 'a connection string', certificate: 'a certificate',
  privateKey: 'a private key', userName: 'an MQTT user name', key: 'a key', thumbprint: 'a thumbprint',
  storageSignature: 'a storage signature', webToken: 'a JSON web token', unknown: 'something unknown',
};
const VERDICTS = { accepted: ['Accepted', 'ok'], refused: ['Refused', 'bad'], undecided: ['Not decided', 'warn'] };
const LEVELS = { ok: ['✓', 'ok', 'Right'], warning: ['!', 'warn', 'Warning'], error: ['✗', 'bad', 'Reason'] };
const LIFETIMES = [[300, '5 minutes'], [3600, '1 hour'], [86_400, '1 day'], [2_592_000, '30 days'], [-3600, 'expired 1 hour ago']];
const QUIET = 350;

export function mount(root, params) {
  const text = h('textarea', { class: 'code', rows: 5, spellcheck: false, autocomplete: 'off', placeholder: 'SharedAccessSignature sr=…&sig=…&se=…', oninput: () => later() });
  const client = h('input', { value: params.client ?? '', spellcheck: false, autocomplete: 'off', onchange: () => { setParams({ client: client.value || null }); explain(); } });
  const host = h('input', { spellcheck: false, autocomplete: 'off', onchange: () => explain() });
  const answer = h('div', { class: 'stack', 'aria-live': 'polite' });
  const later = debounce(explain, QUIET);
  text.style.whiteSpace = 'pre-wrap';
  text.style.overflowWrap = 'anywhere';
  let asking = null;

  async function explain() {
    asking?.abort();
    if (!text.value.trim()) {
      replace(answer, empty('Nothing has been pasted yet.'));
      return;
    }
    asking = new AbortController();
    try {
      const question = { text: text.value, client: client.value.trim() || null, host: host.value.trim() || null };
      const report = await send('POST', '/auth/explain', question, {}, { signal: asking.signal });
      replace(answer, verdict(report), findings(report), decoded(report), signed(report));
    } catch (error) {
      if (!isAbort(error)) replace(answer, failure(error));
    }
  }

  function put(value) {
    text.value = value;
    explain();
    text.scrollIntoView({ block: 'nearest' });
  }

  root.append(
    pageHead(title, 'Paste what was refused: a token, a connection string, a certificate or its chain, an MQTT user name, a key. It is judged by the hub itself, and goes nowhere else.'),
    h('div', { class: 'split main-side' },
      h('div', { class: 'stack' },
        card('Credential', [h('button', { type: 'button', onclick: () => { text.value = ''; explain(); text.focus(); } }, 'Clear')],
          field('What was refused', text),
          h('div', { class: 'form' },
            field('As this device or module', client, 'd1 or d1/m1; empty: whoever the text names'),
            field('Connected to this host', host, 'as it stands in the user name; empty: any'))),
        answer),
      maker(params, put)));
  explain();
  return () => asking?.abort();
}

// --- What the hub says ---

function verdict({ verdict: name, asked, kind, refusal }) {
  const [word, tone] = VERDICTS[name] ?? VERDICTS.undecided;
  return h('div', { class: `note ${tone}` },
    h('p', null, h('b', null, word), ` · this is ${KINDS[kind] ?? kind}`),
    asked ? h('p', { class: 'muted' }, `The hub was asked ${asked}.`) : null,
    refusal ? h('p', { class: 'value' }, h('span', { class: 'mono' }, `${refusal.number} ${refusal.code}`), ` ${refusal.detail}`) : null);
}

function findings({ findings: all }) {
  if (all.length === 0) return null;
  return card('Findings', null, h('ul', { class: 'stack', style: { 'list-style': 'none', padding: 0 } }, all.map(finding)));
}

function finding({ level, what, why, mend }) {
  const [mark, tone, word] = LEVELS[level] ?? LEVELS.warning;
  return h('li', { style: { display: 'grid', 'grid-template-columns': '32px minmax(0, 1fr)', gap: '4px 8px' } },
    h('span', null, h('span', { class: `badge ${tone}`, 'aria-hidden': 'true' }, mark), h('span', { class: 'off-screen' }, `${word}: `)),
    h('div', { class: 'value' },
      h('p', null, level === 'ok' ? what : h('b', null, what)),
      why ? h('p', { class: 'muted' }, why) : null,
      mend ? h('p', null, '→ ', mend) : null));
}

function decoded({ decoded: rows }) {
  if (rows.length === 0) return null;
  return card('What it says', null, table('Parts and their meaning', ['Part', 'Value', 'Meaning'], rows.map(({ name, raw, value, meaning }) => [
    h('code', null, name),
    h('div', { class: 'value' }, h('code', null, value), raw ? h('div', { class: 'muted' }, 'as ', h('code', null, raw)) : null),
    h('span', { class: 'muted' }, meaning),
  ])));
}

function signed({ signed: one }) {
  if (!one) return null;
  const rows = [];
  if (one.signature) rows.push([h('span', null, 'in the token ', one.made_with ? badge(one.made_with, 'info') : badge('of an unknown key', 'bad')), one.signature]);
  for (const { key, signature } of one.expected) rows.push([h('span', null, 'by the ', key, ' ', signature === one.signature ? badge('the same', 'ok') : null), signature]);
  return card('What is signed', [copyButton(one.string_to_sign, 'Copy', 'string to sign')],
    h('pre', { class: 'wrap', tabIndex: 0, 'aria-label': 'String to sign' }, one.string_to_sign.replace('\n', '⏎\n')),
    h('p', { class: 'muted' }, '⏎ is one line feed, and nothing follows. Sign it with HMAC-SHA256 and the decoded key.'),
    table('Signatures', ['Whose', 'Signature'], rows.map(([whose, signature]) => [whose, h('code', { class: 'value' }, signature)])));
}

// --- A right one ---

function maker(params, put) {
  const who = h('select', { name: 'who', onchange: arrange }, h('option', { value: 'client' }, 'A device or module'), h('option', { value: 'policy' }, 'A policy'));
  const client = h('input', { name: 'client', value: params.client ?? '', spellcheck: false, autocomplete: 'off' });
  const policy = h('select', { name: 'policy' });
  const key = h('select', { name: 'key' }, h('option', { value: 'primary' }, 'primary'), h('option', { value: 'secondary' }, 'secondary'));
  const seconds = h('select', { name: 'seconds' }, LIFETIMES.map(([value, label]) => h('option', { value, selected: value === 3600 }, label)));
  const host = h('input', { name: 'host', spellcheck: false, autocomplete: 'off' });
  const policyField = field('Policy', policy);
  const clientField = field('Device or module', client, 'd1 or d1/m1');
  const make = h('button', { class: 'primary' }, 'Make a token');
  const made = h('div', { class: 'stack', 'aria-live': 'polite' });

  function arrange() {
    const ofPolicy = who.value === 'policy';
    policyField.hidden = !ofPolicy;
    client.required = !ofPolicy;
    clientField.querySelector('.hint').textContent = ofPolicy ? 'empty: for the whole hub' : 'd1 or d1/m1';
  }

  async function sign(event) {
    event.preventDefault();
    await busy(make, async () => {
      const request = { client: client.value.trim() || null, key: key.value, seconds: Number(seconds.value), host: host.value.trim() || null };
      if (who.value === 'policy') request.policy = policy.value;
      try {
        const one = await send('POST', '/auth/sign', request);
        replace(made, line('Token', one.token, h('button', { type: 'button', class: 'copy', onclick: () => put(one.token) }, 'Explain it')),
          line('Connection string', one.connection_string), line('MQTT user name', one.user_name), line('MQTT client id', one.client_id),
          h('p', { class: 'muted' }, `For ${one.resource}, until ${one.expires}.`));
      } catch (error) {
        replace(made, failure(error));
      }
    });
  }

  get('/info').then(({ hostname, connection_strings: all }) => {
    host.placeholder = hostname;
    replace(policy, Object.keys(all).filter((name) => !name.startsWith('events')).map((name) => h('option', { value: name }, name)));
  }, () => {});
  arrange();
  return card('A right one', null, h('form', { class: 'stack', onsubmit: sign },
    field('Who signs', who), policyField, clientField,
    h('div', { class: 'form' }, field('Key', key), field('Good for', seconds)), field('Host', host),
    h('div', { class: 'toolbar' }, make)), made);
}

function line(name, value, ...actions) {
  if (!value) return null;
  return h('div', { class: 'stack tight' }, h('div', { class: 'label-line' }, h('span', { class: 'label' }, name), actions), copyLine(name.toLowerCase(), value));
}
