'use strict';
// The quickstart "control a device connected to an IoT hub".

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Message } = require('azure-iot-device');
const { Device, TRANSPORTS, events, invoke } = require('./hub');

for (const transport of TRANSPORTS) {
  test(`the back end controls the device and reads its telemetry over ${transport.name}`, async (t) => {
    const device = await Device.register(t);
    const client = await device.open(transport);
    let interval = 1;
    client.onDeviceMethod('SetTelemetryInterval', (request, response) => {
      if (Number.isInteger(request.payload)) {
        interval = request.payload;
        return response.send(200, { result: `interval is ${interval}` });
      }
      return response.send(400, { result: 'invalid parameter' });
    });
    client.onDeviceMethod('Reboot', (request, response) => response.send(404, { result: 'unknown' }));

    for (const temperature of [20, 21, 31]) {
      const message = new Message(JSON.stringify({ temperature }));
      message.properties.add('temperatureAlert', temperature > 30 ? 'true' : 'false');
      await client.sendEvent(message);
    }
    const accepted = await invoke(device.id, 'SetTelemetryInterval', 2);
    const refused = await invoke(device.id, 'SetTelemetryInterval', 'often');
    const unknown = await invoke(device.id, 'Reboot', {});

    assert.deepEqual(accepted, { status: 200, payload: { result: 'interval is 2' } });
    assert.deepEqual(refused, { status: 400, payload: { result: 'invalid parameter' } });
    assert.deepEqual(unknown, { status: 404, payload: { result: 'unknown' } });
    assert.equal(interval, 2);
    const seen = await events(device.id);
    assert.deepEqual(seen.map((event) => JSON.parse(event.body).temperature), [20, 21, 31]);
    assert.deepEqual(
      seen.map((event) => event.applicationProperties.temperatureAlert),
      ['false', 'false', 'true'],
    );
  });
}
