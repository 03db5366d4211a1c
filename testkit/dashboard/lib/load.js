// Telemetry by the ten thousand: PUBLISH packets at QoS 0, written by the burst.

import net from 'node:net';

import iotCommon from 'azure-iot-common';

import { within } from './wait.js';

const { SharedAccessSignature } = iotCommon;

/** Milliseconds between two bursts. */
const TICK = 10;

/** A device that sends `rate` messages a second of about `size` bytes until `stop()`. */
export async function startLoad(emulator, deviceId, { rate, size = 100 }) {
  const identity = await emulator.register(deviceId);
  const { hostname, ports } = emulator.ready;
  const password = SharedAccessSignature.create(
    `${hostname}/devices/${deviceId}`,
    null,
    identity.authentication.symmetricKey.primaryKey,
    Math.floor(Date.now() / 1000) + 3600,
  ).toString();
  const socket = net.connect({ host: hostname, port: ports.mqtt, noDelay: true });
  socket.on('error', () => {});
  const answer = new Promise((resolve) => socket.once('data', resolve));
  socket.write(connect(deviceId, `${hostname}/${deviceId}/?api-version=2021-04-12`, password));
  const connack = await within(answer, 'CONNACK');
  if (connack[0] !== 0x20 || connack[3] !== 0) throw new Error(`refused: ${connack.toString('hex')}`);

  const topic = `devices/${deviceId}/messages/events/$.ct=application%2Fjson&$.ce=utf-8`;
  let sent = 0;
  let owed = 0;
  let last = performance.now();
  let full = false;
  socket.on('drain', () => { full = false; });
  const timer = setInterval(() => {
    const now = performance.now();
    owed = Math.min(owed + ((now - last) / 1000) * rate, rate);
    last = now;
    // A hub that does not keep up is not owed more than it takes.
    if (full) return;
    const count = Math.floor(owed);
    owed -= count;
    const burst = [];
    for (let i = 0; i < count; i += 1) {
      const body = JSON.stringify({ number: sent + i, value: Math.sin((sent + i) / 1000) });
      burst.push(publish(topic, body.padEnd(size)));
    }
    sent += count;
    if (count > 0) full = !socket.write(Buffer.concat(burst));
  }, TICK);
  return {
    get sent() {
      return sent;
    },
    stop() {
      clearInterval(timer);
      return new Promise((resolve) => socket.end(Buffer.from([0xe0, 0]), resolve));
    },
  };
}

function connect(client, username, password) {
  const head = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0xc2, 0, 60]);
  return packet(0x10, Buffer.concat([head, text(client), text(username), text(password)]));
}

function publish(topic, body) {
  return packet(0x30, Buffer.concat([text(topic), Buffer.from(body)]));
}

function packet(kind, content) {
  const length = [];
  let left = content.length;
  do {
    length.push((left % 128) | (left > 127 ? 128 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.concat([Buffer.from([kind, ...length]), content]);
}

function text(value) {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
