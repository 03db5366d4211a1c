// How a device or module proves who it is: the choice as fields of a form.

import { send } from '../../lib/api.js';
import { download } from '../../lib/copy.js';
import { h } from '../../lib/html.js';
import { field } from '../../lib/ui.js';
import { AUTHENTICATION } from './client.js';
import { select } from './parts.js';

/** Fields for what `now` is; `read(name)` answers `{authentication, certificate}`. */
export function authenticationFields(now = { type: 'sas' }) {
  const text = (value, placeholder) => h('input', {
    class: 'mono', value: value ?? '', placeholder, autocomplete: 'off', spellcheck: false,
  });
  const keys = ['primaryKey', 'secondaryKey'].map((key) => text(now.symmetricKey?.[key], 'generated'));
  const prints = ['primaryThumbprint', 'secondaryThumbprint'].map((print) =>
    text(now.x509Thumbprint?.[print], '40 or 64 hexadecimal digits'));
  const days = h('input', { type: 'number', value: 365, min: 1, max: 36_500 });
  const of = {
    sas: h('div', { class: 'stack' },
      field('Primary key', keys[0], 'Base64 of 16 to 64 bytes; empty: the hub makes one.'),
      field('Secondary key', keys[1])),
    selfSigned: h('div', { class: 'stack' },
      field('Primary thumbprint', prints[0],
        'Both empty: a certificate is made now, and you get it and its key.'),
      field('Secondary thumbprint', prints[1]),
      field('Days that a certificate made now is good for', days)),
    certificateAuthority: h('p', { class: 'hint' },
      'Its certificate is signed by an authority that the hub knows, and has the id as common name.'),
    none: null,
  };
  const type = select({ onchange: show }, Object.entries(AUTHENTICATION)
    .filter(([name]) => name !== 'none' || now.type === 'none')
    .map(([name, label]) => [name, label, name === now.type]));
  const node = h('div', { class: 'stack' }, field('Authentication', type), Object.values(of));
  show();

  function show() {
    for (const [name, part] of Object.entries(of)) if (part) part.hidden = name !== type.value;
  }

  async function read(name) {
    const [primaryKey, secondaryKey] = keys.map((input) => input.value.trim());
    const [primaryThumbprint, secondaryThumbprint] = prints.map((input) => input.value.trim() || null);
    const authentication = {
      sas: { symmetricKey: { primaryKey, secondaryKey } },
      selfSigned: { x509Thumbprint: { primaryThumbprint, secondaryThumbprint } },
    }[type.value] ?? {};
    authentication.type = type.value;
    if (type.value !== 'selfSigned' || primaryThumbprint || secondaryThumbprint) {
      return { authentication };
    }
    const certificate = await send('POST', '/certificates/leaf',
      { commonName: name, days: Number(days.value) });
    authentication.x509Thumbprint.primaryThumbprint = certificate.thumbprint_sha256;
    return { authentication, certificate };
  }

  return { node, read };
}

/** Buttons for a certificate that has been made: the hub does not keep its key. */
export function downloads(name, { certificate, private_key: key }) {
  const file = (label, end, text) => h('button', {
    type: 'button', onclick: () => download(`${name}.${end}.pem`, text, 'application/x-pem-file'),
  }, label);
  return h('div', { class: 'toolbar' },
    file('Download certificate', 'cert', certificate), file('Download private key', 'key', key),
    h('span', { class: 'hint' }, 'The key is kept nowhere else.'));
}
