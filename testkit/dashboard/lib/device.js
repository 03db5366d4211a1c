// Devices as people have them: the unmodified Node.js SDK over MQTT with TLS.
//
// The SDK dials port 8883 unless the gateway's name says another; the emulator stands in for a
// gateway that it is not, so that tests need no port of their own.

import iotCommon from 'azure-iot-common';
import iotDevice from 'azure-iot-device';
import iotMqtt from 'azure-iot-device-mqtt';

import { within } from './wait.js';

const { Message, NoRetry } = iotCommon;

/**
 * Connects a device, which is registered if it is not yet, until the test `t` ends.
 * `modelId` announces a Plug and Play model.
 */
export async function connectDevice(t, emulator, deviceId, { modelId } = {}) {
  const where = `/devices/${encodeURIComponent(deviceId)}`;
  const identity = await emulator.hub('GET', where).catch(() => emulator.register(deviceId));
  const { hostname, ports } = emulator.ready;
  const client = iotDevice.Client.fromConnectionString(
    `HostName=${hostname};DeviceId=${deviceId}`
      + `;SharedAccessKey=${identity.authentication.symmetricKey.primaryKey}`
      + `;GatewayHostName=${hostname}:${ports.mqtts}`,
    iotMqtt.Mqtt,
  );
  // A test that cuts a connection wants to see it cut.
  client.setRetryPolicy(new NoRetry());
  client.on('error', () => {});
  await client.setOptions({ ca: emulator.ca, ...(modelId ? { modelId } : {}) });
  await within(client.open(), `the connection of ${deviceId}`);
  const device = new Device(deviceId, client);
  t.after(() => device.close());
  return device;
}

export class Device {
  #twin;

  constructor(id, client) {
    this.id = id;
    this.client = client;
  }

  /** Sends telemetry: JSON, or a string or buffer as it is. */
  async send(body, properties = {}, system = {}) {
    const raw = typeof body === 'string' || Buffer.isBuffer(body);
    const message = new Message(raw ? body : JSON.stringify(body));
    if (!raw) {
      message.contentType = 'application/json';
      message.contentEncoding = 'utf-8';
    }
    Object.assign(message, system);
    for (const [name, value] of Object.entries(properties)) message.properties.add(name, value);
    await within(this.client.sendEvent(message), `telemetry of ${this.id}`);
  }

  /** Answers a direct method with what `answer(payload)` gives: `[status, payload]`. */
  onMethod(name, answer) {
    this.client.onDeviceMethod(name, async (request, response) => {
      const [status, payload] = await answer(request.payload);
      await response.send(status, payload);
    });
  }

  /** Calls `received(text, message)` with each cloud-to-device message and completes it. */
  onMessage(received) {
    this.client.on('message', (message) => {
      received(message.data.toString(), message);
      this.client.complete(message, () => {});
    });
  }

  /** The SDK's twin: `.properties.desired`, and an event for each change. */
  async twin() {
    this.#twin ??= await within(this.client.getTwin(), `the twin of ${this.id}`);
    return this.#twin;
  }

  /** Reports properties. */
  async report(patch) {
    const twin = await this.twin();
    const done = new Promise((resolve, refuse) => {
      twin.properties.reported.update(patch, (error) => (error ? refuse(error) : resolve()));
    });
    await within(done, `the reported properties of ${this.id}`);
  }

  async close() {
    await within(this.client.close(), `the end of ${this.id}`, 5000).catch(() => {});
  }
}
