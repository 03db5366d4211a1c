'use strict';
// What the tests know about the running emulator: where it is and what it has seen.
//
// The SDKs under test talk to the stock ports by connection string alone. Connections are dropped
// through the emulator's control API: no SDK can do that. Where what is
// tested is the other side, telemetry is read there, too, and messages are sent over REST.

const { randomUUID } = require('node:crypto');
const { EventEmitter, on, once } = require('node:events');
const { readFileSync } = require('node:fs');
const { NoRetry, SharedAccessSignature } = require('azure-iot-common');
const { Client: DeviceClient, ModuleClient } = require('azure-iot-device');
const { Amqp, AmqpWs } = require('azure-iot-device-amqp');
const { Mqtt, MqttWs } = require('azure-iot-device-mqtt');
const { Amqp: ServiceAmqp, Client: ServiceClient, Registry } = require('azure-iothub');

// Every transport of a device that stays connected.
const TRANSPORTS = [Mqtt, MqttWs, Amqp, AmqpWs];

// Longest wait, in seconds, for anything that is bound to happen.
const LIMIT = 30;

const ready = JSON.parse(readFileSync(process.env.CONFORMANCE_READY_FILE, 'utf8'));
const hostName = ready.hostname;
const port = ready.ports.https;
const base = `https://${port === 443 ? hostName : `${hostName}:${port}`}`;
const control = `${base}/_emulator`;

/** The certificate of the emulator's authority. */
const caFile = ready.ca_file;

/** How a storage client opens the account of devices' files. */
const storage = ready.storage.connection_string;

/** Where the Event Hubs SDK finds the events, by TLS or plainly. */
const eventHubs = ready.connection_strings.events;
const eventHubsPlain = ready.connection_strings.events_plain;
const amqpPort = ready.ports.amqp;

const registry = registryAs('iothubowner');
const service = ServiceClient.fromConnectionString(ready.connection_strings.iothubowner);

/** The service SDK's registry client, authorized by a shared access policy. */
function registryAs(policy) {
  return Registry.fromConnectionString(ready.connection_strings[policy]);
}

/** The connection string of a shared access policy. */
function connectionString(policy) {
  return ready.connection_strings[policy];
}

/** The key of a shared access policy. */
function policyKey(policy) {
  return /SharedAccessKey=([^;]+)/.exec(ready.connection_strings[policy])[1];
}

/** An identifier that no other test uses. */
function randomId() {
  return `node-${randomUUID().slice(0, 13)}`;
}

/**
 * Every telemetry event of a device and its modules, oldest first.
 * A message is stored before its PUBACK, so an acknowledged one is always here.
 */
async function events(deviceId) {
  const text = await (await fetch(`${control}/events?from=earliest&device=${deviceId}`)).text();
  return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

/** Resolves once the timeline tells for the so-many-th time that `event` happened to a device. */
async function noticed(deviceId, event, count) {
  const query = `client=${deviceId}&events=${event}&after=0&max=${count}&follow=true`;
  const response = await fetch(`${control}/timeline?${query}`, {
    signal: AbortSignal.timeout(LIMIT * 1000),
  });
  await response.text();
}

/** Cuts the device's connection, as a broken network would. */
async function drop(deviceId) {
  const response = await fetch(`${control}/connections/${deviceId}`, { method: 'DELETE' });
  if (!response.ok) throw new Error(`drop ${deviceId}: ${response.status}`);
}

/** The emulator's time, in milliseconds. */
async function emulatorTime() {
  const { now } = await (await fetch(`${control}/clock`)).json();
  return Date.parse(now);
}

/** A request of a back end, for what the service SDK does only over AMQP. */
async function rest(method, path, headers = {}, body = undefined) {
  const expiry = Math.floor(Date.now() / 1000) + 3600;
  const policy = 'iothubowner';
  const token = SharedAccessSignature.create(hostName, policy, policyKey(policy), expiry).toString();
  const url = `${base}${path}?api-version=2021-04-12`;
  const response = await fetch(url, { method, headers: { Authorization: token, ...headers }, body });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return response;
}

/** Sends a message to `device` or `device/module`; `headers` as in `{ 'iothub-messageid': 'm1' }`. */
async function sendC2d(client, body, headers = {}) {
  const path = client.split('/').join('/modules/');
  await rest('POST', `/devices/${path}/messages/devicebound`, headers, body);
}

/** How many messages wait for a device. */
async function waitingC2d(deviceId) {
  return (await registry.get(deviceId)).responseBody.cloudToDeviceMessageCount;
}

/** The sessions open for a client, `device` or `device/module`. */
async function connections(client) {
  const sessions = await (await fetch(`${control}/connections`)).json();
  return sessions.filter((session) => session.client === client);
}

/**
 * The service SDK's messaging client, open until the test `t` ends, and a way to hear what became of
 * messages to a device.
 */
async function openService(t, { transport = ServiceAmqp, text } = {}) {
  const client = ServiceClient.fromConnectionString(text ?? connectionString('service'), transport);
  t.after(() => client.close().catch(() => {}));
  await client.open();
  return { client, feedbackAbout: (deviceId) => feedbackAbout(client, deviceId) };
}

/** Feedback about a device: `next()` resolves with a message's identifier and its status. */
async function feedbackAbout(client, deviceId) {
  const { result: receiver } = await client.getFeedbackReceiver();
  const arrived = new EventEmitter();
  const records = on(arrived, 'record');
  receiver.on('error', () => {});
  receiver.on('message', (message) => {
    for (const record of JSON.parse(message.data)) {
      if (record.deviceId === deviceId) arrived.emit('record', record);
    }
    receiver.complete(message, () => {});
  });
  const next = async () => {
    const { value: [record] } = await within(records.next(), 'feedback');
    return [record.originalMessageId, record.statusCode];
  };
  return { next };
}

/** A registered device whose clients are closed when the test `t` ends. */
class Device {
  static async register(t) {
    const { responseBody } = await registry.create({ deviceId: randomId() });
    return new Device(t, responseBody.deviceId, responseBody.authentication.symmetricKey);
  }

  constructor(t, id, keys) {
    this.t = t;
    this.id = id;
    this.key = keys.primaryKey;
    this.secondaryKey = keys.secondaryKey;
  }

  /** A client of this device, not yet open. */
  client(transport = Mqtt) {
    const connectionString = `HostName=${hostName};DeviceId=${this.id};SharedAccessKey=${this.key}`;
    return this.keep(DeviceClient.fromConnectionString(connectionString, transport));
  }

  async open(transport = Mqtt) {
    const client = this.client(transport);
    await client.open();
    return client;
  }

  /** Registers a module of this device and opens a client for it. */
  async openModule(moduleId, transport = Mqtt) {
    await registry.addModule({ deviceId: this.id, moduleId });
    const { responseBody } = await registry.getModule(this.id, moduleId);
    const key = responseBody.authentication.symmetricKey.primaryKey;
    const connectionString =
      `HostName=${hostName};DeviceId=${this.id};ModuleId=${moduleId};SharedAccessKey=${key}`;
    const client = this.keep(ModuleClient.fromConnectionString(connectionString, transport));
    await client.open();
    return client;
  }

  /** Has the client closed when the test ends, whatever state it is in by then. */
  keep(client) {
    client.on('error', () => {});
    this.t.after(() => client.close().catch(() => {}));
    return client;
  }
}

/** Resolves when the client reports a lost connection; it does not try to get it back. */
function disconnected(client) {
  client.setRetryPolicy(new NoRetry());
  return within(once(client, 'disconnect'), 'disconnect');
}

/** Resolves when the client has a connection again. */
function reconnected(client) {
  return within(once(client, 'connect'), 'connect');
}

/** Rejects when a promise is not settled within the limit. */
function within(promise, what) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} in ${LIMIT} s`)), LIMIT * 1000);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

/** Calls a method of a device, or of a module; waits for it to connect and subscribe. */
async function invoke(target, methodName, payload, timeouts = {}) {
  const [deviceId, moduleId] = target.split('/');
  const params = {
    methodName,
    payload,
    connectTimeoutInSeconds: LIMIT,
    responseTimeoutInSeconds: LIMIT,
    ...timeouts,
  };
  const call = moduleId
    ? service.invokeDeviceMethod(deviceId, moduleId, params)
    : service.invokeDeviceMethod(deviceId, params);
  return (await call).result;
}

/** Checks for `assert.rejects`: the SDK's error class and, for REST, the hub's error code. */
function refused(name, errorCode) {
  return (error) => {
    if (error.name !== name) throw error;
    if (errorCode === undefined) return true;
    const message = JSON.parse(JSON.parse(error.responseBody).Message);
    return message.errorCode === errorCode;
  };
}

module.exports = {
  Device,
  LIMIT,
  TRANSPORTS,
  amqpPort,
  caFile,
  connectionString,
  connections,
  control,
  disconnected,
  drop,
  emulatorTime,
  eventHubs,
  eventHubsPlain,
  events,
  hostName,
  invoke,
  noticed,
  openService,
  policyKey,
  randomId,
  reconnected,
  refused,
  registry,
  registryAs,
  rest,
  sendC2d,
  storage,
  waitingC2d,
  within,
};
