package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.InternalClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.ModuleClient;
import com.microsoft.azure.sdk.iot.device.edge.DirectMethodRequest;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.transport.https.exceptions.UnauthorizedException;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.service.exceptions.ErrorCodeDescription;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubGatewayTimeoutException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Direct methods from the service SDK to the device SDK. */
class MethodsTest {
    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void payloadAndStatusTravelBothWays(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            echo(device.open(protocol), 418);

            for (Object payload : List.of(Map.of("delay", 5), List.of(1, 2), "text", 7, true)) {
                var response = Hub.invoke(device.id, "echo", payload);
                assertEquals(418, response.getStatus());
                assertEquals(json(payload), response.getPayloadAsJsonElement());
            }
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aMissingPayloadIsNullForTheDevice(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open(protocol);
            CompletableFuture<JsonElement> received = new CompletableFuture<>();
            client.subscribeToMethods((name, payload, context) -> {
                received.complete(payload.getPayloadAsJsonElement());
                return new DirectMethodResponse(200, Map.of());
            }, null);

            assertEquals(200, Hub.invoke(device.id, "bare", null).getStatus());

            JsonElement payload = received.get(Hub.LIMIT, TimeUnit.SECONDS);
            assertTrue(payload == null || payload.isJsonNull(), () -> "payload was " + payload);
        }
    }

    @Test
    void anOfflineDeviceIsNotOnline() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            var error = assertThrows(
                IotHubNotFoundException.class,
                () -> Hub.METHODS.invoke(device.id, "echo", Hub.options("x", 0, Hub.LIMIT)));

            assertEquals(ErrorCodeDescription.DeviceNotOnline, error.getErrorCodeDescription());
        }
    }

    @Test
    void anUnknownDeviceIsNotFound() {
        var error = assertThrows(
            IotHubNotFoundException.class, () -> Hub.invoke(Hub.randomId(), "echo", "x"));

        assertEquals(ErrorCodeDescription.DeviceNotFound, error.getErrorCodeDescription());
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aSilentDeviceTimesOut(IotHubClientProtocol protocol) throws Exception {
        CountDownLatch finished = new CountDownLatch(1);
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open(protocol);
            client.subscribeToMethods((name, payload, context) -> {
                awaitQuietly(finished);
                return new DirectMethodResponse(200, null);
            }, null);

            assertThrows(
                IotHubGatewayTimeoutException.class,
                () -> Hub.METHODS.invoke(device.id, "ignored", Hub.options("x", 0, 5)));
            finished.countDown();
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aCallWaitsForTheDeviceToConnect(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            var call = CompletableFuture.supplyAsync(() -> {
                try {
                    return Hub.invoke(device.id, "late", 1);
                } catch (Exception error) {
                    throw new AssertionError(error);
                }
            });

            echo(device.open(protocol), 200);

            assertEquals(json(1), call.get(Hub.LIMIT, TimeUnit.SECONDS).getPayloadAsJsonElement());
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aModuleAnswersItsOwnMethods(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            echo(device.open(protocol), 201);
            echo(device.openModule("m1", protocol), 202);
            var options = Hub.options("x", Hub.LIMIT, Hub.LIMIT);

            assertEquals(202, Hub.METHODS.invoke(device.id, "m1", "echo", options).getStatus());
            assertEquals(201, Hub.METHODS.invoke(device.id, "echo", options).getStatus());
            var error = assertThrows(
                IotHubNotFoundException.class,
                () -> Hub.METHODS.invoke(device.id, "nobody", "echo", options));
            assertEquals(ErrorCodeDescription.ModuleNotFound, error.getErrorCodeDescription());
        }
    }

    /** The hub takes calls from back ends alone; modules may call where an edge runtime stands between. */
    @Test
    void aModuleMayNotCall() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            echo(device.open(), 201);
            echo(device.openModule("m1", IotHubClientProtocol.MQTT), 202);
            ModuleClient caller = device.openModule("m2", IotHubClientProtocol.MQTT);
            var request = new DirectMethodRequest("echo", "x", Hub.LIMIT, Hub.LIMIT);

            assertUnauthorized(() -> caller.invokeMethod(device.id, request));
            assertUnauthorized(() -> caller.invokeMethod(device.id, "m1", request));
        }
    }

    private static void assertUnauthorized(Executable call) {
        Throwable cause = assertThrows(IotHubClientException.class, call).getCause();
        assertInstanceOf(UnauthorizedException.class, cause);
    }

    private static void echo(InternalClient client, int status) throws Exception {
        client.subscribeToMethods(
            (name, payload, context) -> new DirectMethodResponse(status, payload.getPayloadAsJsonElement()),
            null);
    }

    private static JsonElement json(Object value) {
        return value == null ? JsonNull.INSTANCE : JsonParser.parseString(new com.google.gson.Gson().toJson(value));
    }

    private static void awaitQuietly(CountDownLatch latch) {
        try {
            latch.await(Hub.LIMIT, TimeUnit.SECONDS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
