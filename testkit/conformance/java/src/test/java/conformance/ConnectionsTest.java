package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.microsoft.azure.sdk.iot.device.ConnectionStatusChangeContext;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.ModuleClient;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.transport.IotHubConnectionStatus;
import com.microsoft.azure.sdk.iot.device.transport.NoRetry;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.DeviceStatus;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Who may connect, and what happens to a connection while it lives. */
class ConnectionsTest {
    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void aWrongKeyIsRefused(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            device.key = Base64.getEncoder().encodeToString(new byte[32]);

            assertUnauthorized(device.client(protocol));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void theSecondaryKeyIsAsGoodAsThePrimary(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            device.key = device.secondaryKey;

            device.open(protocol).sendEvent(new Message("second"));

            assertEquals(List.of("second"), Hub.bodies(device.id));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void anExpiredTokenIsRefused(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            assertUnauthorized(withToken(device, Instant.now().minusSeconds(3600), protocol));

            withToken(device, Instant.now().plusSeconds(3600), protocol).open(false);
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aDisabledDeviceIsDisconnectedAndRefused(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            var states = openWithoutRetry(device, protocol);

            Device identity = Hub.REGISTRY.getDevice(device.id);
            identity.setStatus(DeviceStatus.Disabled);
            Hub.REGISTRY.updateDevice(identity);

            TestDevice.await(states, IotHubConnectionStatus.DISCONNECTED);
            assertUnauthorized(device.client(protocol));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aDeletedDeviceIsDisconnectedAndRefused(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            var states = openWithoutRetry(device, protocol);

            Hub.REGISTRY.removeDevice(device.id);

            TestDevice.await(states, IotHubConnectionStatus.DISCONNECTED);
            assertUnauthorized(device.client(protocol));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aSecondClientTakesTheConnectionOver(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            var states = openWithoutRetry(device, protocol);

            DeviceClient second = device.open(protocol);

            TestDevice.await(states, IotHubConnectionStatus.DISCONNECTED);
            second.sendEvent(new Message("from the second"));
            assertEquals(List.of("from the second"), Hub.bodies(device.id));
            assertEquals(1, Hub.connections(device.id));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void aDroppedConnectionComesBackWithItsSubscriptions(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.client(protocol);
            var states = TestDevice.states(client);
            client.open(false);
            TestDevice.await(states, IotHubConnectionStatus.CONNECTED);
            client.subscribeToMethods((name, payload, context) -> new DirectMethodResponse(200, Map.of()), null);

            Hub.drop(device.id);

            TestDevice.await(states, IotHubConnectionStatus.DISCONNECTED_RETRYING);
            TestDevice.await(states, IotHubConnectionStatus.CONNECTED);
            client.sendEvent(new Message("back"));
            assertEquals(List.of("back"), Hub.bodies(device.id));
            assertEquals(200, Hub.invoke(device.id, "ping", "x").getStatus());
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aModuleSendsToAnOutput(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            ModuleClient module = device.openModule("m1", protocol);

            module.sendEvent(new Message("from an output"), "out1");

            assertEquals(List.of("from an output"), Hub.bodies(device.id));
            var annotations = Hub.events(device.id).get(0).getAsJsonObject("annotations");
            assertEquals("m1", annotations.get("iothub-connection-module-id").getAsString());
        }
    }

    /** The hub's own name goes into user name and token; only the socket goes to the gateway. */
    @Test
    void aGatewayHostNameLeadsToTheEmulator() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            String connectionString = device.connectionString() + ";GatewayHostName=" + Hub.hostName();
            // Over AMQP the SDK tells the gateway's name as the hub's.
            DeviceClient client = device.keep(new DeviceClient(connectionString, IotHubClientProtocol.MQTT));

            client.open(false);
            client.sendEvent(new Message("through the gateway"));

            assertEquals(List.of("through the gateway"), Hub.bodies(device.id));
        }
    }

    private static void assertUnauthorized(DeviceClient client) {
        var error = assertThrows(IotHubClientException.class, () -> client.open(false));
        assertEquals(IotHubStatusCode.UNAUTHORIZED, error.getStatusCode());
    }

    private static BlockingQueue<ConnectionStatusChangeContext> openWithoutRetry(
            TestDevice device, IotHubClientProtocol protocol) throws Exception {
        DeviceClient client = device.client(protocol);
        client.setRetryPolicy(new NoRetry());
        var states = TestDevice.states(client);
        client.open(false);
        return states;
    }

    /** A client that authenticates with a ready-made token. */
    private static DeviceClient withToken(
            TestDevice device, Instant expiry, IotHubClientProtocol protocol) throws Exception {
        String resource = Hub.DEVICE_HOST + "/devices/" + device.id;
        String encoded = URLEncoder.encode(resource, StandardCharsets.UTF_8);
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(Base64.getDecoder().decode(device.key), "HmacSHA256"));
        byte[] digest = mac.doFinal((encoded + "\n" + expiry.getEpochSecond()).getBytes(StandardCharsets.UTF_8));
        String signature = URLEncoder.encode(Base64.getEncoder().encodeToString(digest), StandardCharsets.UTF_8);
        String token = "SharedAccessSignature sr=" + encoded + "&sig=" + signature + "&se=" + expiry.getEpochSecond();
        return device.keep(
            new DeviceClient(Hub.DEVICE_HOST, device.id, token::toCharArray, protocol));
    }
}
