// Modules of a device: listed, added, deleted, opened.

import { hub } from '../../lib/api.js';
import { h, replace } from '../../lib/html.js';
import { badge, card, failure } from '../../lib/ui.js';
import { confirm } from '../../components/dialog.js';
import { toast } from '../../components/toast.js';
import { AUTHENTICATION, Client } from './client.js';
import { addModule } from './create.js';
import { presence, showTable, when } from './parts.js';

export function modulesTab(page) {
  const { device } = page.client;
  const list = h('div');
  const node = card('Modules', h('button', { type: 'button', class: 'primary', onclick: add }, 'Add module'), list);

  async function read() {
    try {
      const { body: modules } = await hub('GET', `/devices${page.client.path}/modules`);
      showTable(list, `Modules of ${device}`,
        ['Module', 'State', 'Last active', 'Authentication', 'Managed by', 'Messages waiting', ''],
        modules.map(row), 'It has no modules.');
    } catch (refused) {
      replace(list, failure(refused));
    }
  }

  function row(module) {
    const client = new Client(device, module.moduleId);
    const isOfTheHub = module.moduleId.startsWith('$');
    return [
      h('a', { href: client.href }, module.moduleId), presence(module.connectionState),
      when(module.lastActivityTime), AUTHENTICATION[module.authentication?.type] ?? '–',
      module.managedBy ?? '–', module.cloudToDeviceMessageCount,
      isOfTheHub ? badge('system') : h('button', {
        type: 'button', class: 'danger', 'aria-label': `Delete ${module.moduleId}`,
        onclick: () => remove(client),
      }, 'Delete'),
    ];
  }

  async function add() {
    if (await addModule(device)) read();
  }

  async function remove(client) {
    const text = 'Its twin and what waits for it go, too.';
    if (!await confirm({ title: `Delete ${client.name}?`, text, action: 'Delete', danger: true })) return;
    try {
      await hub('DELETE', `/devices${client.path}`, null, { 'If-Match': '*' });
    } catch (refused) {
      toast(refused.message, { tone: 'bad' });
    }
    read();
  }

  read();
  const tick = setInterval(() => { if (!document.hidden && node.isConnected) read(); }, 5000);
  return {
    node,
    read,
    close: () => clearInterval(tick),
    /** Something happened to a module. */
    below({ event }) {
      if (['connected', 'disconnected', 'identityChanged'].includes(event)) page.soon(read);
    },
  };
}
