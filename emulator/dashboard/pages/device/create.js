// Dialogs that make devices and modules.

import { hub } from '../../lib/api.js';
import { h } from '../../lib/html.js';
import { field } from '../../lib/ui.js';
import { copyLine } from '../../components/copy-button.js';
import { form, show } from '../../components/dialog.js';
import { authenticationFields, downloads } from './authentication.js';
import { bulk } from './bulk.js';
import { Client, connectionString, host, identityOf } from './client.js';
import { check } from './parts.js';

const ID = "[A-Za-z0-9\\-:.+%_#*?!\\(\\),=@;$']{1,128}";

function idField(label, value = '') {
  return field(label, h('input', {
    name: 'id', required: true, pattern: ID, maxLength: 128, value, autocomplete: 'off', spellcheck: false,
    title: 'Up to 128 letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ \'',
  }), 'Upper and lower case are different.');
}

/** Asks for a new device and makes it; answers its id. */
export async function addDevice() {
  const authentication = authenticationFields();
  const made = await form({
    title: 'New device',
    submit: 'Add',
    body: [
      idField('Device id'), authentication.node,
      check('An IoT Edge device', { name: 'edge' }), check('Disabled', { name: 'disabled' })],
    onSubmit: async (data) => {
      const id = data.get('id');
      return create(new Client(id), await authentication.read(id), {
        deviceId: id,
        status: data.has('disabled') ? 'disabled' : 'enabled',
        capabilities: { iotEdge: data.has('edge') },
      });
    },
  });
  return told(made);
}

/** Asks for a new module of a device and makes it; answers its id. */
export async function addModule(device) {
  const authentication = authenticationFields();
  const made = await form({
    title: `New module of ${device}`,
    submit: 'Add',
    body: [idField('Module id'), authentication.node],
    onSubmit: async (data) => {
      const moduleId = data.get('id');
      return create(new Client(device, moduleId), await authentication.read(moduleId),
        { deviceId: device, moduleId });
    },
  });
  return told(made);
}

/** Asks for a name and makes a device like another: identity, desired properties and tags. */
export async function cloneDevice(device) {
  const id = await form({
    title: `A device like ${device}`,
    submit: 'Clone',
    body: [
      idField('Device id', device),
      check('With its desired properties and tags', { name: 'twin', checked: true }),
      h('p', { class: 'hint' }, 'It gets keys of its own; thumbprints of certificates are the same.')],
    onSubmit: async (data) => {
      const { authentication: { type, x509Thumbprint }, ...identity } =
        await identityOf(new Client(device));
      const element = {
        id: data.get('id'),
        importMode: 'create',
        status: identity.status,
        statusReason: identity.statusReason,
        capabilities: identity.capabilities,
        authentication: type === 'selfSigned' ? { type, x509Thumbprint } : { type },
      };
      if (identity.capabilities?.iotEdge) element.parentScopes = identity.parentScopes;
      else element.deviceScope = identity.deviceScope;
      if (data.has('twin')) {
        const { body: twin } = await hub('GET', `/twins${new Client(device).path}`);
        const { $metadata, $version, ...desired } = twin.properties.desired;
        Object.assign(element, { tags: twin.tags ?? {}, properties: { desired } });
      }
      const [failed] = await bulk([element]);
      if (failed) throw new Error(failed.why);
      return element.id;
    },
  });
  return id && told({ client: new Client(id), identity: await identityOf(new Client(id)) });
}

async function create(client, { authentication, certificate }, identity) {
  const { body } = await hub('PUT', `/devices${client.path}`, { ...identity, authentication });
  return { client, identity: body, certificate };
}

/** Shows what a device's program needs; answers the id of what has been made. */
async function told(made) {
  if (!made) return undefined;
  const { client, identity, certificate } = made;
  const string = connectionString(await host(), identity);
  const open = h('a', { class: 'button', href: client.href }, 'Open');
  const shown = show({
    title: `${client.name} has been added`,
    wide: false,
    body: [
      string && h('p', null, 'Its program connects with'),
      string && copyLine('connection string', string),
      certificate && downloads(client.name.replace('/', '-'), certificate)],
    actions: [open],
  });
  open.addEventListener('click', () => open.closest('dialog').close());
  await shown;
  return client.name;
}
