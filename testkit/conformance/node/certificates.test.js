'use strict';
// Devices that prove themselves by certificates: self-signed, or from an authority.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { X509Certificate } = require('node:crypto');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { test } = require('node:test');
const { Client, Message } = require('azure-iot-device');
const { Device, TRANSPORTS, control, events, hostName, randomId, refused, registry } = require(
  './hub',
);

const unauthorized = refused('UnauthorizedError');

/** A folder that is gone after the test. */
function scratch(t) {
  const folder = mkdtempSync(join(tmpdir(), 'conformance-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

function openssl(...args) {
  execFileSync('openssl', args, { stdio: 'ignore' });
}

/** A self-signed client certificate. */
function certificate(t, name) {
  const folder = scratch(t);
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  openssl(
    'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
    '-subj', `/CN=${name}`, '-keyout', keyFile, '-out', certFile,
  );
  return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') };
}

/** A certificate authority, made and registered on the hub as the guides to the real one say. */
class Authority {
  constructor(t) {
    this.folder = scratch(t);
    this.name = randomId();
    [this.key, this.cert] = ['ca.key', 'ca.pem'].map((file) => join(this.folder, file));
    openssl(
      'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
      '-subj', `/CN=${this.name}`, '-keyout', this.key, '-out', this.cert,
    );
  }

  /** A certificate of X.509 version 1, which is what openssl makes unless told otherwise. */
  sign(name) {
    const stem = join(this.folder, randomId());
    const [request, key, cert] = ['csr', 'key', 'pem'].map((end) => `${stem}.${end}`);
    openssl(
      'req', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', key,
      '-out', request,
    );
    openssl(
      'x509', '-req', '-in', request, '-CA', this.cert, '-CAkey', this.key, '-CAcreateserial',
      '-days', '2', '-out', cert,
    );
    return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  }

  register() {
    const properties = { certificate: readFileSync(this.cert, 'utf8') };
    return this.#ask('PUT', '', { properties });
  }

  async provePossession() {
    const { properties, etag } = await this.#ask('POST', '/generateVerificationCode');
    const proof = this.sign(properties.verificationCode).cert;
    const verified = await this.#ask('POST', '/verify', { certificate: proof }, etag);
    assert.equal(verified.properties.isVerified, true);
  }

  async #ask(method, path, body, etag) {
    const response = await fetch(`${control}/certificates/${this.name}${path}`, {
      method,
      headers: etag ? { 'If-Match': etag } : {},
      body: body && JSON.stringify(body),
    });
    assert.ok(response.ok, `${method} ${path}: ${response.status}`);
    return response.json();
  }
}

/**
 * Sends a message of the device that shows a certificate. Over AMQP a client names itself only with
 * its first link, so that it is refused no earlier.
 */
async function send(device, transport, options, body) {
  const connectionString = `HostName=${hostName};DeviceId=${device.id};x509=true`;
  const client = device.keep(Client.fromConnectionString(connectionString, transport));
  await client.setOptions(options);
  await client.open();
  await client.sendEvent(new Message(body));
}

for (const transport of TRANSPORTS) {
  test(`a certificate is known by its thumbprint over ${transport.name}`, async (t) => {
    const device = new Device(t, randomId(), {});
    const known = certificate(t, device.id);
    const primaryThumbprint = new X509Certificate(known.cert).fingerprint.replaceAll(':', '');
    const authentication = { x509Thumbprint: { primaryThumbprint } };
    await registry.create({ deviceId: device.id, authentication });

    await assert.rejects(send(device, transport, certificate(t, device.id), 'lost'), unauthorized);

    await send(device, transport, known, 'signed');
    assert.deepEqual((await events(device.id)).map((event) => event.body), ['signed']);
  });

  test(`a proved authority vouches for its devices over ${transport.name}`, async (t) => {
    const device = new Device(t, randomId(), {});
    const authority = new Authority(t);
    const authentication = { type: 'certificateAuthority' };
    await registry.create({ deviceId: device.id, authentication });
    const signed = authority.sign(device.id);

    await assert.rejects(send(device, transport, signed, 'lost'), unauthorized);
    await authority.register();
    await assert.rejects(send(device, transport, signed, 'lost'), unauthorized);
    await authority.provePossession();
    const other = authority.sign(randomId());
    await assert.rejects(send(device, transport, other, 'lost'), unauthorized);

    await send(device, transport, signed, 'vouched for');
    assert.deepEqual((await events(device.id)).map((event) => event.body), ['vouched for']);
  });
}
