// Programs for each SDK: `snippet(sdk, side, at)` answers `{setup, code, note}` or null.
// `at` has `device` (a device's connection string), `id`, `service`, `events`, `ca` (a path) and
// `ports`. Setup lines trust the emulator's authority in the way that SDK knows.

export const SDKS = [['python', 'Python'], ['node', 'Node.js'], ['csharp', 'C#'], ['java', 'Java'], ['c', 'C'], ['rust', 'Rust'], ['az', 'az']];
export const SIDES = [['device', 'A device'], ['service', 'A back end'], ['events', 'A reader of events']];

const JAVA_TRUST = (ca) => `keytool -importcert -noprompt -alias iothub-emulator -file '${ca}' \\
    -keystore truststore.p12 -storetype PKCS12 -storepass changeit
# then: java -Djavax.net.ssl.trustStore=truststore.p12 -Djavax.net.ssl.trustStorePassword=changeit …`;
const CSHARP_TRUST = (ca) => `export SSL_CERT_FILE='${ca}'    # Linux
# Windows and macOS: import the certificate into your user's trusted roots`;
const PLAIN = 'UseDevelopmentEmulator=true: without TLS, and the port is in the string; no certificate is needed.';
const BODY = '{"temperature": 21.5}';

const TABLE = {
  python: {
    device: (at) => ({
      setup: `pip install azure-iot-device\nexport SSL_CERT_FILE='${at.ca}'`,
      code: `from azure.iot.device import IoTHubDeviceClient, Message

device = IoTHubDeviceClient.create_from_connection_string(
    "${at.device}")
message = Message('${BODY}', content_encoding="utf-8", content_type="application/json")
device.send_message(message)
device.shutdown()`,
    }),
    service: (at) => ({
      setup: `pip install azure-iot-hub six\nexport REQUESTS_CA_BUNDLE='${at.ca}'`,
      code: `from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod

hub = IoTHubRegistryManager.from_connection_string(
    "${at.service}")
method = CloudToDeviceMethod(method_name="reboot", payload={})
answer = hub.invoke_device_method("${at.id}", method)
print(answer.status, answer.payload)`,
      note: 'send_c2d_message speaks AMQP, which trusts the file of certifi and nothing else: append the certificate to it.',
      port: (port) => `HTTPS is on ${port}: write HostName=localhost:${port}.`,
    }),
    events: (at) => ({
      setup: 'pip install azure-eventhub',
      code: `from azure.eventhub import EventHubConsumerClient

reader = EventHubConsumerClient.from_connection_string(
    "${at.events}",
    consumer_group="$Default")
with reader:
    reader.receive(
        on_event=lambda partition, event: print(event.body_as_str()),
        starting_position="-1")`,
      note: PLAIN,
    }),
  },
  node: {
    device: (at) => ({
      setup: `npm install azure-iot-device azure-iot-device-mqtt\nexport NODE_EXTRA_CA_CERTS='${at.ca}'`,
      code: `const { Client, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

async function main() {
  const device = Client.fromConnectionString(
    '${at.device}', Mqtt);
  await device.open();
  await device.sendEvent(new Message('${BODY}'));
  await device.close();
}
main();`,
    }),
    service: (at) => ({
      setup: `npm install azure-iothub\nexport NODE_EXTRA_CA_CERTS='${at.ca}'`,
      code: `const { Client } = require('azure-iothub');

const service = Client.fromConnectionString(
  '${at.service}');
service.invokeDeviceMethod('${at.id}', { methodName: 'reboot', payload: {} })
  .then(({ result }) => console.log(result.status, result.payload));`,
      port: () => 'This SDK sends its requests to port 443 and no other.',
    }),
    events: (at) => ({
      setup: 'npm install @azure/event-hubs',
      code: `const { EventHubConsumerClient, earliestEventPosition } = require('@azure/event-hubs');

const reader = new EventHubConsumerClient('$Default',
  '${at.events}');
reader.subscribe({
  processEvents: async (events) => events.forEach((event) => console.log(event.body)),
  processError: async (error) => console.error(error),
}, { startPosition: earliestEventPosition });`,
      note: PLAIN,
    }),
  },
  csharp: {
    device: (at) => ({
      setup: `dotnet add package Microsoft.Azure.Devices.Client\n${CSHARP_TRUST(at.ca)}`,
      code: `using System.Text;
using Microsoft.Azure.Devices.Client;

using var device = DeviceClient.CreateFromConnectionString(
    "${at.device}",
    TransportType.Mqtt_Tcp_Only);
await device.SendEventAsync(new Message(Encoding.UTF8.GetBytes("{\\"temperature\\": 21.5}")));`,
    }),
    service: (at) => ({
      setup: `dotnet add package Microsoft.Azure.Devices\n${CSHARP_TRUST(at.ca)}`,
      code: `using Microsoft.Azure.Devices;

using var service = ServiceClient.CreateFromConnectionString(
    "${at.service}");
var method = new CloudToDeviceMethod("reboot").SetPayloadJson("{}");
var answer = await service.InvokeDeviceMethodAsync("${at.id}", method);
Console.WriteLine($"{answer.Status} {answer.GetPayloadAsJson()}");`,
    }),
    events: (at) => ({
      setup: 'dotnet add package Azure.Messaging.EventHubs',
      code: `using Azure.Messaging.EventHubs.Consumer;

await using var reader = new EventHubConsumerClient("$Default",
    "${at.events}");
await foreach (var read in reader.ReadEventsAsync())
    Console.WriteLine(read.Data.EventBody);`,
      note: PLAIN,
    }),
  },
  java: {
    device: (at) => ({
      setup: `# com.microsoft.azure.sdk.iot:iot-device-client\n${JAVA_TRUST(at.ca)}`,
      code: `import com.microsoft.azure.sdk.iot.device.*;

DeviceClient device = new DeviceClient(
    "${at.device.replace('HostName=localhost;', 'HostName=127.0.0.1;')}",
    IotHubClientProtocol.MQTT);
device.open(true);
device.sendEvent(new Message("{\\"temperature\\": 21.5}"));
device.close();`,
      note: 'This client refuses a host name without a dot: 127.0.0.1 instead of localhost.',
    }),
    service: (at) => ({
      setup: `# com.microsoft.azure.sdk.iot:iot-service-client\n${JAVA_TRUST(at.ca)}`,
      code: `import com.microsoft.azure.sdk.iot.service.methods.*;

DirectMethodsClient methods = new DirectMethodsClient(
    "${at.service}");
DirectMethodResponse answer = methods.invoke("${at.id}", "reboot");
System.out.println(answer.getStatus());`,
    }),
    events: (at) => ({
      setup: '# com.azure:azure-messaging-eventhubs',
      code: `import com.azure.messaging.eventhubs.*;

EventHubConsumerAsyncClient reader = new EventHubClientBuilder()
    .connectionString("${at.events}")
    .consumerGroup("$Default").buildAsyncConsumerClient();
reader.receive().subscribe(event -> System.out.println(event.getData().getBodyAsString()));`,
      note: PLAIN,
    }),
  },
  c: {
    device: (at) => ({
      setup: '# azure-iot-sdk-c: hand the certificate’s text to the client',
      code: `IOTHUB_DEVICE_CLIENT_LL_HANDLE device = IoTHubDeviceClient_LL_CreateFromConnectionString(
    "${at.device}",
    MQTT_Protocol);
IoTHubDeviceClient_LL_SetOption(device, OPTION_TRUSTED_CERT, ca_pem);
IOTHUB_MESSAGE_HANDLE message = IoTHubMessage_CreateFromString("{\\"temperature\\": 21.5}");
IoTHubDeviceClient_LL_SendEventAsync(device, message, on_sent, NULL);
while (!sent) { IoTHubDeviceClient_LL_DoWork(device); ThreadAPI_Sleep(10); }`,
      note: 'ca_pem is the text of the certificate; on_sent is your callback, which sets sent.',
    }),
  },
  rust: {
    device: (at) => ({
      setup: `export SSL_CERT_FILE='${at.ca}'    # crate iothub-device, beside the emulator`,
      code: `use iothub_device::{DeviceClient, json_message};
use serde_json::json;

let device = DeviceClient::connect(
    "${at.device}",
).await?;
device.send_telemetry(json_message(&json!({"temperature": 21.5}))).await?;
device.close().await;`,
    }),
    service: (at) => ({
      setup: `export SSL_CERT_FILE='${at.ca}'    # crate iothub-backend, beside the emulator`,
      code: `let backend = iothub_backend::Backend::from_connection_string(
    "${at.service}",
)?;
let answer = backend.methods().invoke("${at.id}", "reboot").send().await?;
println!("{} {:?}", answer.status, answer.payload);`,
    }),
    events: (at) => ({
      setup: '# crate iothub-backend, beside the emulator',
      code: `let events = iothub_backend::Events::from_connection_string(
    "${at.events}",
)?;
let mut reader = events.from_earliest().open().await?;
while let Some(event) = reader.next().await? {
    println!("{}", String::from_utf8_lossy(&event.body));
}`,
      note: PLAIN,
    }),
  },
  az: {
    device: (at) => ({
      setup: `az extension add --name azure-iot\nexport REQUESTS_CA_BUNDLE='${at.ca}'`,
      code: `az iot hub device-identity create --login '${at.service}' -d ${at.id}
az iot device send-d2c-message --login '${at.service}' -d ${at.id} --data '${BODY}'`,
    }),
    service: (at) => ({
      setup: `az extension add --name azure-iot\nexport REQUESTS_CA_BUNDLE='${at.ca}'`,
      code: `az iot hub query --login '${at.service}' -q "SELECT * FROM devices"
az iot hub invoke-device-method --login '${at.service}' -d ${at.id} --mn reboot`,
      note: 'Every command takes --login. Without az: iothub-emulator knows the same words.',
    }),
    events: (at) => ({
      setup: `cat '${at.ca}' >> "$(/opt/az/bin/python3 -m certifi)"    # or whichever Python az runs with`,
      code: `az iot hub monitor-events --login '${at.service}'`,
      note: 'Without az and without a certificate: iothub-emulator monitor-events.',
    }),
  },
};

/** The program of an SDK for a side. */
export function snippet(sdk, side, at) {
  const made = TABLE[sdk][side]?.(at);
  if (!made) return null;
  const port = at.ports.https === 443 ? null : made.port?.(at.ports.https);
  return { ...made, note: [made.note, port].filter(Boolean).join(' ') };
}
