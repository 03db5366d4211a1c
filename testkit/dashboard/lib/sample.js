// A hub as somebody might have it, the same each time: what the pictures show.

import { connectDevice } from './device.js';
import { until } from './wait.js';

const SITES = ['north', 'south', 'harbour'];

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
    properties: { desired: { interval: 5, target: 21.5, display: { brightness: 70, unit: '°C' } } },
  });

  const thermostat = await connectDevice(t, emulator, 'thermostat-1', {
    modelId: 'dtmi:com:example:Thermostat;1',
  });
  const others = [];
  for (const number of [3, 17, 42, 108]) {
    others.push(await connectDevice(t, emulator, `sensor-${String(number).padStart(3, '0')}`));
  }
  thermostat.onMethod('reboot', async () => [200, { in: 5 }]);
  thermostat.onMethod('getMaxMinReport', async () => [200, { max: 23.1, min: 19.4, avg: 21.2 }]);
  await thermostat.report({ interval: 5, target: 21.5, firmware: '2.4.1', temperature: 21.3 });
  await until(
    () => emulator.hub('POST', '/twins/thermostat-1/methods', {
      methodName: 'getMaxMinReport', payload: {}, responseTimeoutInSeconds: 10,
    }).catch(() => undefined),
    'thermostat-1 answers',
  );
  return { thermostat, others };
}

/** Lets the devices send, a wave each, without chance; ends with what this answers. */
export function sampleTelemetry({ thermostat, others }) {
  let number = 0;
  let last = Promise.resolve();
  const timer = setInterval(() => {
    number += 1;
    const temperature = Number((21 + 2 * Math.sin(number / 25)).toFixed(2));
    const humidity = Number((48 + 5 * Math.cos(number / 40)).toFixed(1));
    last = Promise.all([
      thermostat.send({ temperature, humidity }, temperature > 22.5 ? { alert: 'warm' } : {}),
      ...others.map((device, index) => device.send({ pressure: 1003 + index + (number % 5) })),
    ]).catch(() => {});
  }, 100);
  return () => {
    clearInterval(timer);
    return last;
  };
}
