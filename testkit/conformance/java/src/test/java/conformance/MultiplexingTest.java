package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.MultiplexingClient;
import com.microsoft.azure.sdk.iot.device.exceptions.MultiplexingClientRegistrationException;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Several devices of one process on one connection. */
class MultiplexingTest {
    private static final int DEVICES = 3;

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"AMQPS", "AMQPS_WS"})
    void eachDeviceHasAllItsFeatures(IotHubClientProtocol protocol) throws Exception {
        MultiplexingClient connection = new MultiplexingClient(Hub.DEVICE_HOST, protocol);
        List<TestDevice> devices = new ArrayList<>();
        List<DeviceClient> clients = new ArrayList<>();
        BlockingQueue<String> received = new LinkedBlockingQueue<>();
        for (int number = 0; number < DEVICES; number++) {
            TestDevice device = TestDevice.register();
            DeviceClient client = new DeviceClient(device.connectionString(), protocol);
            client.setMessageCallback((message, context) -> {
                received.add(device.id + " " + new String(message.getBytes()));
                return IotHubMessageResult.COMPLETE;
            }, null);
            devices.add(device);
            clients.add(client);
        }

        try {
            connection.registerDeviceClients(clients);
            connection.open(false);
            for (int number = 0; number < DEVICES; number++) {
                uses(devices.get(number), clients.get(number), received);
            }

            // The others stay when one goes.
            connection.unregisterDeviceClient(clients.get(0));
            clients.get(1).sendEvent(new Message("still here"));
            assertEquals(List.of("telemetry", "still here"), Hub.bodies(devices.get(1).id));
            assertEquals(0, Hub.connections(devices.get(0).id));
            assertEquals(1, Hub.connections(devices.get(1).id));
        } finally {
            connection.close();
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"AMQPS", "AMQPS_WS"})
    void aDeviceWithAWrongKeyIsRefusedAndTheOthersAreNot(IotHubClientProtocol protocol) throws Exception {
        MultiplexingClient connection = new MultiplexingClient(Hub.DEVICE_HOST, protocol);
        TestDevice good = TestDevice.register();
        TestDevice bad = TestDevice.register();
        bad.key = Base64.getEncoder().encodeToString(new byte[32]);
        DeviceClient client = new DeviceClient(good.connectionString(), protocol);

        try {
            connection.registerDeviceClient(client);
            connection.open(false);
            assertThrows(
                MultiplexingClientRegistrationException.class,
                () -> connection.registerDeviceClient(new DeviceClient(bad.connectionString(), protocol)));

            client.sendEvent(new Message("good"));
            assertEquals(List.of("good"), Hub.bodies(good.id));
        } finally {
            connection.close();
        }
    }

    private static void uses(TestDevice device, DeviceClient client, BlockingQueue<String> received)
            throws Exception {
        client.sendEvent(new Message("telemetry"));
        assertEquals(List.of("telemetry"), Hub.bodies(device.id));

        Hub.sendC2d(device.id, "for " + device.id);
        assertEquals(device.id + " for " + device.id, received.poll(Hub.LIMIT, TimeUnit.SECONDS));

        client.subscribeToMethods(
            (name, payload, context) -> new DirectMethodResponse(200, Map.of("by", device.id)), null);
        assertEquals(
            JsonParser.parseString("{\"by\":\"" + device.id + "\"}"),
            Hub.invoke(device.id, "who", null).getPayloadAsJsonElement());

        BlockingQueue<TwinCollection> patches = new LinkedBlockingQueue<>();
        client.subscribeToDesiredProperties((twin, context) -> patches.add(twin.getDesiredProperties()), null);
        Twin patch = new Twin(device.id);
        patch.getDesiredProperties().put("of", device.id);
        Hub.TWINS.patch(patch);
        TwinCollection desired = patches.poll(Hub.LIMIT, TimeUnit.SECONDS);
        assertNotNull(desired, "no desired patch");
        assertEquals(device.id, desired.get("of"));
    }
}
