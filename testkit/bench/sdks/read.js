// Reads so many events with @azure/event-hubs and prints how many a second it got.
//
//   read.js CONNECTION_STRING COUNT
//
// Its module is looked for where the conformance suite has it: NODE_PATH.
const { EventHubConsumerClient, earliestEventPosition } = require('@azure/event-hubs');

const [connectionString, wanted] = [process.argv[2], Number(process.argv[3])];
const client = new EventHubConsumerClient('$Default', connectionString);
let count = 0;
let began;

const limit = setTimeout(() => finish(`${count} of ${wanted} events came`), 120_000);
const subscription = client.subscribe({
  processEvents: async (events) => {
    began ??= performance.now();
    count += events.length;
    if (count >= wanted) finish();
  },
  processError: async (error) => finish(error.message),
}, { startPosition: earliestEventPosition, maxBatchSize: 1000, maxWaitTimeInSeconds: 1 });

let finished = false;
async function finish(failure) {
  if (finished) return;
  finished = true;
  clearTimeout(limit);
  if (failure) console.error(failure);
  else console.log(Math.round((count / (performance.now() - began)) * 1000));
  process.exit(failure ? 1 : 0);
}
