// Identity: who it is, how it proves it, and what its program needs to connect.

import { hub, send } from '../../lib/api.js';
import { dateTime } from '../../lib/format.js';
import { h, replace } from '../../lib/html.js';
import { navigate } from '../../lib/router.js';
import { badge, busy, card, facts, field } from '../../lib/ui.js';
import { copyLine, secret } from '../../components/copy-button.js';
import { confirm, form, show } from '../../components/dialog.js';
import { toast } from '../../components/toast.js';
import { authenticationFields, downloads } from './authentication.js';
import { AUTHENTICATION, Client, connectionString, host, identityOf, writeIdentity } from './client.js';
import { cloneDevice } from './create.js';
import { check, select, when } from './parts.js';

const KEYS = [['primaryKey', 'Primary'], ['secondaryKey', 'Secondary']];
const LIFETIMES = [[300, '5 minutes'], [3600, '1 hour', true], [86_400, '1 day'], [2_592_000, '30 days'],
  [31_536_000, '1 year'], [-60, 'expired a minute ago']];

export function identityTab(page) {
  const { client } = page;
  const isDevice = !client.module;
  const access = h('div', { class: 'stack' });
  const about = h('div');
  const parent = h('div');
  const statusSelect = select({}, [['enabled', 'Enabled'], ['disabled', 'Disabled']]);
  const reason = h('input', { maxLength: 128, placeholder: 'why' });
  const tokens = token();
  let drawn;

  const node = h('div', { class: 'stack' },
    h('div', { class: 'grid' },
      access,
      h('div', { class: 'stack' }, isDevice && status(), tokens, connection()),
      h('div', { class: 'stack' },
        card('About', null, about, isDevice && parent),
        card(isDevice ? 'Device' : 'Module', null, h('div', { class: 'toolbar' },
          isDevice && button('Clone…', clone), button('Delete…', remove, 'danger'))))));
  showIdentity(page.identity);

  function button(label, work, look = '') {
    const one = h('button', { type: 'button', class: look, onclick: () => busy(one, work) }, label);
    return one;
  }

  /** Writes what `edit` makes of the identity, unless somebody else has changed it meanwhile. */
  async function change(edit, done) {
    const identity = structuredClone(page.identity);
    edit(identity);
    try {
      page.take(await writeIdentity(client, identity));
      toast(done, { tone: 'ok' });
    } catch (refused) {
      await page.refresh();
      if (refused.status !== 412) throw refused;
      throw new Error('It has been changed meanwhile. Look at it again.', { cause: refused });
    }
  }

  async function showIdentity(identity) {
    if (!identity) return;
    replace(about, facts([
      ['Connection', identity.connectionState], ['Since', when(identity.connectionStateUpdatedTime)],
      ['Last active', when(identity.lastActivityTime)],
      ['Status since', isDevice && when(identity.statusUpdatedTime)],
      ['Messages waiting', identity.cloudToDeviceMessageCount],
      ['Managed by', identity.managedBy], ['Scope', identity.deviceScope && h('code', null, identity.deviceScope)],
      ['Generation', h('code', null, identity.generationId)], ['Etag', h('code', null, identity.etag)],
    ].filter(([, value]) => value !== false)));
    // Fields that somebody may be typing into are drawn again only for another identity.
    if (drawn === identity.etag) return;
    drawn = identity.etag;
    if (isDevice) {
      replace(parent, parents(identity));
      statusSelect.value = identity.status;
      reason.value = identity.statusReason ?? '';
    }
    tokens.hidden = identity.authentication.type !== 'sas';
    const name = await host();
    replace(access, keys(identity), strings(name, identity));
  }

  // --- How it proves who it is ---

  function keys(identity) {
    const { type, symmetricKey, x509Thumbprint } = identity.authentication;
    const own = {
      sas: () => [
        KEYS.map(([key, label]) => labelled(`${label} key`,
          secret(symmetricKey[key] ?? '', `${label.toLowerCase()} key`))),
        h('div', { class: 'toolbar' }, button('Swap keys', swap),
          KEYS.map(([key, label]) => button(`New ${label.toLowerCase()}`, () => regenerate(key))),
          button('New both', () => regenerate('both')))],
      selfSigned: () => ['primaryThumbprint', 'secondaryThumbprint']
        .filter((print) => x509Thumbprint[print])
        .map((print) => labelled(print.replace('Thumb', ' thumb'), copyLine('thumbprint', x509Thumbprint[print]))),
    }[type]?.() ?? h('p', { class: 'hint' }, type === 'none' ? 'It proves nothing and cannot connect.'
      : 'It connects with a certificate of its name, signed by an authority that the hub knows.');
    return card('Authentication', [badge(AUTHENTICATION[type] ?? type, 'info'), button('Change…', another)], own);
  }

  async function swap() {
    await change(({ authentication: { symmetricKey: keys } }) => {
      [keys.primaryKey, keys.secondaryKey] = [keys.secondaryKey, keys.primaryKey];
    }, 'The keys have been swapped.');
  }

  async function regenerate(policyKey) {
    const text = 'A program with the old one cannot connect any more; who is connected stays.';
    if (!await confirm({ title: 'Make a new key?', text, action: 'Make it', danger: true })) return;
    await hub('POST', '/devices/keys/regenerate',
      { policyKey, devices: [{ id: client.device, moduleId: client.module }] });
    await page.refresh();
  }

  async function another() {
    const fields = authenticationFields(page.identity.authentication);
    const certificate = await form({
      title: `Authentication of ${client.name}`,
      body: fields.node,
      onSubmit: async () => {
        const { authentication, certificate: made } = await fields.read(client.module ?? client.device);
        await change((identity) => Object.assign(identity, { authentication }), 'Changed.');
        return made;
      },
    });
    if (certificate) {
      await show({ title: 'A certificate has been made', wide: false,
        body: downloads(client.name.replace('/', '-'), certificate) });
    }
  }

  function strings(name, identity) {
    const keys = identity.authentication.type === 'sas' ? KEYS : [['', '']];
    const lines = keys.map(([key, label]) => [label, connectionString(name, identity, key)])
      .filter(([, string]) => string);
    return lines.length > 0 && card('Connection strings', null, lines.map(([label, string]) =>
      labelled(label || 'With a certificate', secret(string, `${label.toLowerCase()} connection string`.trim()))));
  }

  // --- What it may ---

  function status() {
    const save = button('Save', () => change((identity) => {
      Object.assign(identity, { status: statusSelect.value, statusReason: reason.value || null });
    }, `${client.name} is ${statusSelect.value}.`));
    return card('Status', null, field('It may connect', statusSelect, 'Disabling ends its connection.'),
      field('Reason', reason), h('div', { class: 'toolbar' }, save));
  }

  function parents(identity) {
    const isEdge = check('IoT Edge device', { checked: identity.capabilities?.iotEdge });
    const held = identity.parentScopes?.[0]?.replace(/^ms-azure-iot-edge:\/\//, '').replace(/-\d+$/, '');
    const above = h('input', {
      autocomplete: 'off', value: held ?? '', placeholder: 'id of an IoT Edge device, or nothing',
    });
    const save = button('Save', async () => {
      const id = above.value.trim();
      const scope = id ? (await identityOf(new Client(id))).deviceScope : '';
      if (id && !scope) throw new Error(`${id} is no IoT Edge device.`);
      await change((now) => {
        const { iotEdge } = now.capabilities;
        now.capabilities.iotEdge = isEdge.firstChild.checked;
        now.parentScopes = scope ? [scope] : [];
        // The scope of an edge device is its own; another's is its parent's.
        if (!now.capabilities.iotEdge) now.deviceScope = scope;
        else if (!iotEdge) delete now.deviceScope;
      }, 'Saved.');
    });
    return h('div', { class: 'stack' }, isEdge, field('Parent', above), h('div', { class: 'toolbar' }, save));
  }

  // --- Tokens ---

  function token() {
    const key = select({}, [['primary', 'Primary key'], ['secondary', 'Secondary key']]);
    const lifetime = select({}, LIFETIMES);
    const made = h('div', { class: 'stack', 'aria-live': 'polite' });
    const sign = button('Sign a token', async () => {
      const answer = await send('POST', '/auth/sign',
        { client: client.name, key: key.value, seconds: Number(lifetime.value) });
      replace(made, labelled('Token', copyLine('token', answer.token)),
        answer.connection_string && labelled('Connection string',
          secret(answer.connection_string, 'connection string with the token')),
        answer.user_name && labelled('MQTT user name', copyLine('user name', answer.user_name)),
        h('p', { class: 'hint' }, `Good until ${dateTime(answer.expires)}.`));
    });
    return card('SAS token', null,
      h('div', { class: 'form' }, field('Signed with', key), field('Good for', lifetime)),
      h('div', { class: 'toolbar' }, sign), made);
  }

  // --- Its connection ---

  function connection() {
    return card('Connection', null, h('div', { class: 'toolbar' },
      button('Drop it', async () => {
        await send('DELETE', client.connection);
        toast('The connection has been dropped.', { tone: 'ok' });
      }),
      button('Expire its token now', async () => {
        await send('POST', `${client.connection}/expire-token`);
        toast('Its token counts as expired.', { tone: 'ok' });
      })),
    h('p', { class: 'hint' }, 'As when a network fails, or a token is not renewed in time.'));
  }

  async function clone() {
    const made = await cloneDevice(client.device);
    if (made) navigate('device', { id: made });
  }

  async function remove() {
    const text = 'Its twin, its modules and what waits for it go, too.';
    if (!await confirm({ title: `Delete ${client.name}?`, text, action: 'Delete', danger: true })) return;
    await hub('DELETE', `/devices${client.path}`, null, { 'If-Match': '*' });
    toast(`${client.name} has been deleted.`, { tone: 'ok' });
    if (isDevice) navigate('devices');
    else navigate('device', { id: client.device, tab: 'modules' });
  }

  return { node, identity: showIdentity };
}

const labelled = (label, node) => h('div', null, h('p', { class: 'label' }, label), node);
