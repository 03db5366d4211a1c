'use strict';
// The Event Hubs SDK reads the built-in endpoint.

const assert = require('node:assert/strict');
const { EventEmitter, on } = require('node:events');
const { test } = require('node:test');
const { EventHubConsumerClient, EventHubProducerClient } = require('@azure/event-hubs');
const { BlobCheckpointStore } = require('@azure/eventhubs-checkpointstore-blob');
const { ContainerClient } = require('@azure/storage-blob');
const { Message } = require('azure-iot-device');
const WebSocket = require('ws');
const {
  Device, amqpPort, eventHubs, eventHubsPlain, events, hostName, randomId, registry, storage, within,
} = require('./hub');

const GROUP = '$Default';
const EARLIEST = { offset: '-1' };
const LATEST = { offset: '@latest' };

/** Every way that the SDK has to connect: connection string and options. */
const WAYS = {
  plain: [eventHubsPlain],
  'plain with a port': [
    eventHubsPlain.replace(/Endpoint=[^;]*;/, `Endpoint=sb://${hostName}:${amqpPort};`),
  ],
  TLS: [eventHubs],
  WebSocket: [eventHubs, { webSocketOptions: { webSocket: WebSocket } }],
  // The flag does not reach WebSocket: the SDK takes TLS for that in any case.
  'WebSocket with the flag': [eventHubsPlain, { webSocketOptions: { webSocket: WebSocket } }],
};

// What is refused once would be refused again.
const NO_RETRY = { retryOptions: { maxRetries: 0 } };

/** A consumer client that is closed when the test `t` ends. */
function consumer(t, [text, options] = WAYS.plain, { group = GROUP, store, ...more } = {}) {
  const all = [group, text, ...(store ? [store] : []), { ...options, ...more }];
  const client = new EventHubConsumerClient(...all);
  t.after(() => client.close());
  return client;
}

/** Has a client receive until the test `t` ends. */
class Reading {
  constructor(t, client, options, partition) {
    const arrived = new EventEmitter();
    for (const name of ['events', 'failure', 'begun', 'ended']) this[name] = on(arrived, name);
    const handlers = {
      processEvents: async (batch, context) => {
        if (batch.length > 0) arrived.emit('events', batch, context);
      },
      processError: async (error) => arrived.emit('failure', error),
      processInitialize: async (context) => arrived.emit('begun', context.partitionId),
      processClose: async (reason, context) => arrived.emit('ended', context.partitionId),
    };
    const wait = { maxWaitTimeInSeconds: 0.1, ...options };
    this.subscription = partition === undefined
      ? client.subscribe(handlers, wait)
      : client.subscribe(String(partition), handlers, wait);
    t.after(() => this.close());
  }

  async close() {
    await this.subscription.close();
  }

  async next(name) {
    return (await within(this[name].next(), name)).value;
  }

  /** The next events of a device with their partitions' contexts; others are dropped. */
  async of(device, count) {
    const found = [];
    while (found.length < count) {
      const [batch, context] = await this.next('events');
      for (const event of batch.filter((one) => deviceOf(one) === device.id)) {
        found.push({ event, context });
      }
    }
    return found;
  }

  async bodiesOf(device, count) {
    return (await this.of(device, count)).map(({ event }) => event.body);
  }

  async error() {
    return (await this.next('failure'))[0];
  }
}

function deviceOf(event) {
  return event.systemProperties['iothub-connection-device-id'];
}

/** Messages of a device, one after the other. */
async function send(device, ...bodies) {
  const client = await device.open();
  for (const body of bodies) await client.sendEvent(new Message(JSON.stringify(body)));
  await client.close();
}

for (const [way, how] of Object.entries(WAYS)) {
  test(`an event arrives with all its properties: ${way}`, async (t) => {
    const device = await Device.register(t);
    const message = new Message('{"t":21.5}');
    message.messageId = 'm-1';
    message.correlationId = 'c&1=2';
    message.contentType = 'application/json';
    message.contentEncoding = 'utf-8';
    message.properties.add('level', 'höch & low');
    await (await device.open()).sendEvent(message);
    const [stored] = await events(device.id);

    const reading = new Reading(t, consumer(t, how), { startPosition: EARLIEST });
    const [{ event, context }] = await reading.of(device, 1);

    assert.deepEqual(event.body, { t: 21.5 });
    assert.deepEqual(event.properties, { level: 'höch & low' });
    assert.equal(event.messageId, 'm-1');
    assert.equal(event.correlationId, 'c&1=2');
    assert.equal(event.contentType, 'application/json');
    assert.equal(event.sequenceNumber, stored.sequenceNumber);
    assert.equal(event.offset, stored.offset);
    assert.equal(event.partitionKey ?? null, null);
    assert.equal(+event.enqueuedTimeUtc, Date.parse(stored.enqueuedTime));
    assert.equal(context.partitionId, String(stored.partition));
    const system = event.systemProperties;
    assert.equal(system.contentEncoding, 'utf-8');
    assert.equal(system['iothub-message-source'], 'Telemetry');
    assert.equal(+new Date(system['iothub-enqueuedtime']), +event.enqueuedTimeUtc);
    const { generationId } = (await registry.get(device.id)).responseBody;
    assert.equal(system['iothub-connection-auth-generation-id'], generationId);
    assert.equal(JSON.parse(system['iothub-connection-auth-method']).type, 'sas');
  });

  test(`the hub and its partitions tell about themselves: ${way}`, async (t) => {
    const device = await Device.register(t);
    await send(device, 1, 2);
    const last = (await events(device.id)).at(-1);

    const client = consumer(t, how);
    const properties = await client.getEventHubProperties();
    const partition = await client.getPartitionProperties(String(last.partition));

    assert.equal(properties.name, client.eventHubName);
    assert.deepEqual(properties.partitionIds, ['0', '1', '2', '3']);
    assert.ok(properties.createdOn <= partition.lastEnqueuedOnUtc);
    assert.equal(partition.eventHubName, client.eventHubName);
    assert.equal(partition.partitionId, String(last.partition));
    assert.equal(partition.beginningSequenceNumber, 0);
    assert.equal(partition.lastEnqueuedSequenceNumber, last.sequenceNumber);
    assert.equal(partition.lastEnqueuedOffset, last.offset);
    assert.equal(+partition.lastEnqueuedOnUtc, Date.parse(last.enqueuedTime));
    assert.equal(partition.isEmpty, false);
  });
}

for (const way of ['plain', 'WebSocket']) {
  test(`a large event arrives whole: ${way}`, async (t) => {
    const device = await Device.register(t);
    const body = '0123456789'.repeat(20_000);
    await send(device, body);
    const [{ partition }] = await events(device.id);

    const client = consumer(t, WAYS[way]);
    const reading = new Reading(t, client, { startPosition: EARLIEST }, partition);

    assert.deepEqual(await reading.bodiesOf(device, 1), [body]);
  });
}

for (const [name, position] of [
  ['an offset', (event) => ({ offset: event.offset })],
  ['a sequence number', (event) => ({ sequenceNumber: event.sequenceNumber })],
]) {
  for (const isInclusive of [false, true]) {
    test(`reading begins at ${name}${isInclusive ? ', inclusively' : ''}`, async (t) => {
      const device = await Device.register(t);
      await send(device, 0, 1, 2, 3);
      const second = (await events(device.id))[1];

      const startPosition = { ...position(second), isInclusive };
      const reading = new Reading(t, consumer(t), { startPosition }, second.partition);

      const expected = isInclusive ? [1, 2, 3] : [2, 3];
      assert.deepEqual(await reading.bodiesOf(device, expected.length), expected);
    });
  }
}

test('reading begins at a time', async (t) => {
  const device = await Device.register(t);
  await send(device, 0, 1);
  const last = (await events(device.id))[1];
  // The SDK asks for what is later than this.
  const startPosition = { enqueuedOn: Date.parse(last.enqueuedTime) - 1 };

  const reading = new Reading(t, consumer(t), { startPosition }, last.partition);

  assert.equal((await reading.bodiesOf(device, 1)).length, 1);
});

test('latest leaves out what was there before', async (t) => {
  const device = await Device.register(t);
  await send(device, 'before');
  const reading = new Reading(t, consumer(t), { startPosition: LATEST });
  const arrival = reading.of(device, 1);

  // Nothing tells when the link is there, so that the first of these can be too early.
  const client = await device.open();
  let arrived;
  for (let number = 0; !arrived && number < 600; number += 1) {
    await client.sendEvent(new Message(JSON.stringify(number)));
    arrived = await Promise.race([arrival, new Promise((resolve) => setTimeout(resolve, 50))]);
  }

  assert.notEqual(arrived[0].event.body, 'before');
});

test('events come in batches and in order', async (t) => {
  const device = await Device.register(t);
  const numbers = Array.from({ length: 30 }, (_, number) => number);
  await send(device, ...numbers);
  const [{ partition }] = await events(device.id);

  const options = { startPosition: EARLIEST, maxBatchSize: 7 };
  const reading = new Reading(t, consumer(t), options, partition);
  const seen = [];
  while (seen.length < numbers.length) {
    const [batch] = await reading.next('events');
    assert.ok(batch.length <= 7);
    seen.push(...batch.filter((event) => deviceOf(event) === device.id));
  }

  assert.deepEqual(seen.map((event) => event.body), numbers);
});

test('an event tells how far its partition is', async (t) => {
  const device = await Device.register(t);
  await send(device, 1, 2, 3);
  const last = (await events(device.id)).at(-1);

  const options = { startPosition: EARLIEST, trackLastEnqueuedEventProperties: true };
  const reading = new Reading(t, consumer(t), options, last.partition);
  const [{ context }] = await reading.of(device, 1);

  const properties = context.lastEnqueuedEventProperties;
  assert.equal(properties.sequenceNumber, last.sequenceNumber);
  assert.equal(properties.offset, last.offset);
  assert.equal(+properties.enqueuedOn, Date.parse(last.enqueuedTime));
});

/** A checkpoint store in the emulator's own blob storage. */
async function checkpoints() {
  const container = new ContainerClient(storage, randomId());
  await container.create();
  return new BlobCheckpointStore(container);
}

test('a reader goes on behind its checkpoint', async (t) => {
  const device = await Device.register(t);
  const store = await checkpoints();
  await send(device, 'a', 'b', 'c', 'd', 'e');

  const first = new Reading(t, consumer(t, WAYS.plain, { store }), { startPosition: EARLIEST });
  const { event, context } = (await first.of(device, 3)).at(2);
  await context.updateCheckpoint(event);
  await first.close();
  const second = new Reading(t, consumer(t, WAYS.plain, { store }), { startPosition: EARLIEST });

  assert.deepEqual(await second.bodiesOf(device, 2), ['d', 'e']);
});

test('two readers share the partitions', async (t) => {
  const store = await checkpoints();
  const sharing = () => {
    const loadBalancingOptions = { strategy: 'greedy', updateIntervalInMs: 500 };
    const client = consumer(t, WAYS.plain, { store, loadBalancingOptions, ...NO_RETRY });
    return new Reading(t, client, { startPosition: LATEST });
  };
  const take = async (reading, name, count) => {
    const partitions = [];
    while (partitions.length < count) partitions.push(...(await reading.next(name)));
    return partitions.sort();
  };

  const first = sharing();
  assert.deepEqual(await take(first, 'begun', 4), ['0', '1', '2', '3']);
  const second = sharing();

  const moved = await take(second, 'begun', 2);
  assert.deepEqual(await take(first, 'ended', 2), moved);
});

test('a higher owner level displaces a lower one', async (t) => {
  const device = await Device.register(t);
  await send(device, 1);
  const [{ partition }] = await events(device.id);
  const owning = (ownerLevel) => {
    const options = { startPosition: EARLIEST, ownerLevel };
    return new Reading(t, consumer(t, WAYS.plain, NO_RETRY), options, partition);
  };

  const first = owning(1);
  await first.of(device, 1);
  const second = owning(2);
  await second.of(device, 1);

  assert.equal((await first.error()).code, 'ReceiverDisconnectedError');
  await first.close();
  const late = owning(1);
  assert.equal((await late.error()).code, 'ReceiverDisconnectedError');
});

test('a wrong key is refused', async (t) => {
  const wrong = Buffer.alloc(32, 'x').toString('base64');
  const text = eventHubs.replace(/SharedAccessKey=[^;]*/, `SharedAccessKey=${wrong}`);

  const asking = consumer(t, [text, NO_RETRY]).getEventHubProperties();

  await assert.rejects(asking, (error) => error.code === 'UnauthorizedError');
});

test('an unknown event hub is not found', async (t) => {
  const text = eventHubs.replace(/EntityPath=[^;]*/, 'EntityPath=nobody');

  const asking = consumer(t, [text, NO_RETRY]).getEventHubProperties();

  await assert.rejects(asking, (error) => error.code === 'MessagingEntityNotFoundError');
});

test('an unknown consumer group is not found', async (t) => {
  const client = consumer(t, WAYS.plain, { group: randomId(), ...NO_RETRY });
  const reading = new Reading(t, client, { startPosition: EARLIEST }, 0);

  assert.match((await reading.error()).message, /could not be found/);
});

test('events are sent by devices alone', async (t) => {
  const producer = new EventHubProducerClient(eventHubs, NO_RETRY);
  t.after(() => producer.close());

  const sending = producer.sendBatch([{ body: 'x' }]);

  await assert.rejects(sending, (error) => error.code === 'UnauthorizedError');
});
