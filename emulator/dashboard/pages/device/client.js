// A device or module: where the hub keeps what belongs to it, and how it is written down.

import { get, hub } from '../../lib/api.js';
import { href } from '../../lib/router.js';

const encode = encodeURIComponent;

export class Client {
  constructor(device, module) {
    this.device = device;
    this.module = module || undefined;
  }

  /** As notices name it. */
  get name() {
    return this.module ? `${this.device}/${this.module}` : this.device;
  }

  /** The path below /devices, /twins and the control API. */
  get path() {
    const device = `/${encode(this.device)}`;
    return this.module ? `${device}/modules/${encode(this.module)}` : device;
  }

  /** The path below /connections. */
  get connection() {
    return `/connections/${encode(this.device)}${this.module ? `/${encode(this.module)}` : ''}`;
  }

  /** The address of its page. */
  get href() {
    return href('device', { id: this.device, module: this.module });
  }
}

/** The identity of a device or module. */
export async function identityOf(client) {
  return (await hub('GET', `/devices${client.path}`)).body;
}

/** Writes an identity that has been read before; refused when it has changed since. */
export async function writeIdentity(client, identity) {
  const headers = { 'If-Match': `"${identity.etag}"` };
  return (await hub('PUT', `/devices${client.path}`, identity, headers)).body;
}

let hostname;

/** The host name of connection strings. */
export function host() {
  hostname ??= get('/info').then((info) => info.hostname);
  hostname.catch(() => { hostname = undefined; });
  return hostname;
}

/** What a device's program is configured with; nothing for one that does not prove who it is. */
export function connectionString(host, identity, key = 'primaryKey') {
  const { type, symmetricKey } = identity.authentication ?? {};
  const proof = {
    sas: `SharedAccessKey=${symmetricKey?.[key]}`,
    selfSigned: 'x509=true',
    certificateAuthority: 'x509=true',
  }[type];
  const module = identity.moduleId && `ModuleId=${identity.moduleId}`;
  return proof && [`HostName=${host}`, `DeviceId=${identity.deviceId}`, module, proof]
    .filter(Boolean).join(';');
}

/** How ways to prove an identity are called. */
export const AUTHENTICATION = {
  sas: 'SAS',
  selfSigned: 'X.509 self-signed',
  certificateAuthority: 'X.509 CA-signed',
  none: 'none',
};

/** Whether a text can be the id of a device or module. */
export const isId = (text) => /^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$/.test(text);
