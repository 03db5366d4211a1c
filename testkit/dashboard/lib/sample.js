// A hub as somebody might have it, the same each time: what the pictures show.

import { connectDevice } from './device.js';
import { until } from './wait.js';

const SITES = ['north', 'south', 'harbour'];
const DAY = 86_400_000;

/** Registers the devices and connects some of them until `t` ends; answers those. */
export async function sampleHub(t, emulator) {
  await emulator.registerMany(240, 'sensor-', (number) => ({
    tags: { site: SITES[number % SITES.length], floor: number % 7 },
    status: number % 41 === 40 ? 'disabled' : 'enabled',
  }));
  await emulator.register('gateway-1', { capabilities: { iotEdge: true } });
  await emulator.register('thermostat-1');
  await emulator.hub('PUT', '/devices/thermostat-1/modules/control', {
    deviceId: 'thermostat-1',
    moduleId: 'control',
  });
  await emulator.hub('PATCH', '/twins/thermostat-1', {
    tags: { site: 'north', floor: 2, owner: 'Facility' },
    properties: { desired: { interval: 10, target: 20, display: { brightness: 70, unit: '°C' } } },
  });
  await emulator.control('PUT', '/routing', ROUTING);

  const thermostat = await connectDevice(t, emulator, 'thermostat-1', {
    modelId: 'dtmi:com:example:Thermostat;1',
  });
  const others = [];
  for (const number of [3, 17, 42, 108]) {
    others.push(await connectDevice(t, emulator, `sensor-${String(number).padStart(3, '0')}`));
  }
  thermostat.onMethod('reboot', async () => [200, { in: 5 }]);
  thermostat.onMethod('getMaxMinReport', async () => [200, { max: 23.1, min: 19.4, avg: 21.2 }]);
  await thermostat.report({ interval: 10, target: 20, firmware: '2.4.1', temperature: 20.9 });
  await until(() => call(emulator, 'getMaxMinReport').catch(() => undefined), 'thermostat-1 answers');
  await story(emulator, thermostat);
  others[0].onMethod('ping', async () => [200, null]);
  return { emulator, thermostat, others };
}

const ROUTING = {
  endpoints: { eventHubs: [{ name: 'alarms' }], storageContainers: [{ name: 'archive', containerName: 'cold' }] },
  routes: [
    { name: 'warm', source: 'DeviceMessages', condition: "alert = 'warm'", endpointNames: ['alarms'], isEnabled: true },
    { name: 'everything', source: 'DeviceMessages', condition: 'true', endpointNames: ['events'], isEnabled: true },
    { name: 'pressure', source: 'DeviceMessages', condition: '$body.pressure > 1006', endpointNames: ['archive'], isEnabled: true },
    { name: 'twins', source: 'TwinChangeEvents', condition: 'true', endpointNames: ['events'], isEnabled: true },
  ],
  enrichments: [{ key: 'site', value: '$twin.tags.site', endpointNames: ['alarms'] }],
};

/** What happened before somebody looks: a fault, messages, changes, a question too many. */
async function story(emulator, thermostat) {
  await emulator.hub('PATCH', '/twins/thermostat-1', { properties: { desired: { target: 21.5, interval: 5 } } });
  await thermostat.report({ interval: 5, target: 21.5, temperature: 21.3 });
  await emulator.control('POST', '/faults', {
    fault: 'fail', operation: 'invokeMethod', code: 'ThrottlingException', client: 'thermostat-1',
  });
  await emulator.control('POST', '/faults', {
    fault: 'fail', operation: 'connect', code: 'IotHubUnauthorizedAccess', client: 'sensor-200', count: 2,
  });
  await emulator.control('POST', '/faults', { fault: 'delay', operation: 'getOwnTwin', millis: 2000, nth: 3, count: 5 });
  await call(emulator, 'reboot').catch(() => {});
  await emulator.hub('POST', '/devices/gateway-1/messages/devicebound', '{"open": true}', {
    'content-type': 'application/octet-stream', 'iothub-messageid': 'valve-7', 'iothub-ack': 'full',
    'iothub-expiry': new Date(Date.now() + DAY).toISOString(),
  });
  thermostat.onMessage(() => {});
  await emulator.hub('POST', '/devices/thermostat-1/messages/devicebound', 'show: hello', {
    'content-type': 'application/octet-stream', 'iothub-messageid': 'display-1', 'iothub-ack': 'full',
  });
  // Firmware that speaks in bytes.
  await thermostat.send(Buffer.from([0x01, 0x0a, 0xd7, 0xa3, 0x70, 0x3d, 0x0a, 0x2b, 0x42, 0xff]), { frame: 'status' });
  await emulator.hub('GET', '/devices/thermostat-1/nothingOfTheKind').catch(() => {});
}

function call(emulator, methodName, device = 'thermostat-1') {
  return emulator.hub('POST', `/twins/${device}/methods`, {
    methodName, payload: {}, responseTimeoutInSeconds: 10,
  });
}

/** Lets the devices send, a wave each, be called and report; ends with what this answers. */
export function sampleTelemetry({ emulator, thermostat, others }) {
  let number = 0;
  let last = Promise.resolve();
  const timer = setInterval(() => {
    number += 1;
    const temperature = Number((21 + 2 * Math.sin(number / 25)).toFixed(2));
    const humidity = Number((48 + 5 * Math.cos(number / 40)).toFixed(1));
    last = Promise.all([
      thermostat.send({ temperature, humidity }, temperature > 22.5 ? { alert: 'warm' } : {}),
      ...others.map((device, index) => device.send({ pressure: 1003 + index + (number % 5) })),
      number % 25 < 12 && call(emulator, 'ping', others[0].id),
      number % 8 === 0 && others[1].report({ uptime: number }),
    ]).catch(() => {});
  }, 100);
  return () => {
    clearInterval(timer);
    return last;
  };
}
