package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.digitaltwin.DigitalTwinAsyncClient;
import com.microsoft.azure.sdk.iot.service.digitaltwin.DigitalTwinClient;
import com.microsoft.azure.sdk.iot.service.digitaltwin.UpdateOperationUtility;
import com.microsoft.azure.sdk.iot.service.digitaltwin.models.DigitalTwinCommandResponse;
import com.microsoft.azure.sdk.iot.service.digitaltwin.models.DigitalTwinInvokeCommandRequestOptions;
import com.microsoft.azure.sdk.iot.service.digitaltwin.models.DigitalTwinUpdateRequestOptions;
import com.microsoft.azure.sdk.iot.service.digitaltwin.serialization.BasicDigitalTwin;
import com.microsoft.rest.RestException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Plug and Play: a device with a model, its digital twin, and commands on its components. */
class DigitalTwinsTest {
    private static final String MODEL = "dtmi:com:example:TemperatureController;2";
    private static final DigitalTwinClient DIGITAL_TWINS =
        new DigitalTwinClient(Hub.connectionString("service"));

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void theModelIsSeenInBothTwins(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            openWithModel(device, protocol);

            assertEquals(MODEL, Hub.TWINS.get(device.id).getModelId());
            var response = DIGITAL_TWINS.getDigitalTwinWithResponse(device.id, BasicDigitalTwin.class);
            assertEquals(device.id, response.body().getId());
            assertEquals(MODEL, response.body().getMetadata().getModelId());
            assertEquals(Hub.TWINS.get(device.id).getETag(), response.headers().eTag());
        }
    }

    @Test
    void aDigitalTwinIsMadeOfWhatTheDeviceReports() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = openWithModel(device, IotHubClientProtocol.MQTT);
            client.subscribeToDesiredProperties((twin, context) -> { }, null);
            TwinCollection reported = TestDevice.twin(client).getReportedProperties();
            reported.put("serialNumber", "abc");
            reported.put("thermostat1", Map.of(
                "__t", "c",
                "targetTemperature", Map.of("value", 42.5, "ac", 200, "av", 2, "ad", "ok")));
            TestDevice.report(client, reported);

            BasicDigitalTwin twin = DIGITAL_TWINS.getDigitalTwin(device.id, BasicDigitalTwin.class);

            assertEquals("abc", twin.getCustomProperties().get("serialNumber"));
            JsonObject component = json(device).getAsJsonObject("thermostat1");
            assertEquals(42.5, component.get("targetTemperature").getAsDouble());
            JsonObject about =
                component.getAsJsonObject("$metadata").getAsJsonObject("targetTemperature");
            assertEquals(200, about.get("ackCode").getAsInt());
            assertEquals(2, about.get("ackVersion").getAsInt());
            assertEquals("ok", about.get("ackDescription").getAsString());
        }
    }

    @Test
    void aPatchReachesTheDeviceAsDesiredProperties() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            BlockingQueue<TwinCollection> patches = new LinkedBlockingQueue<>();
            openWithModel(device, IotHubClientProtocol.MQTT)
                .subscribeToDesiredProperties((twin, context) -> patches.add(twin.getDesiredProperties()), null);
            UpdateOperationUtility patch = new UpdateOperationUtility()
                .appendAddPropertyOperation("/interval", 30)
                .appendAddComponentOperation("/thermostat1", new HashMap<>(Map.of("targetTemperature", 42)));

            var response =
                DIGITAL_TWINS.updateDigitalTwinWithResponse(device.id, patch.getUpdateOperations());

            assertEquals(202, response.response().code());
            assertEquals(Hub.TWINS.get(device.id).getETag(), response.headers().eTag());
            assertTrue(response.headers().location().contains("/digitaltwins/" + device.id));
            TwinCollection desired = patches.poll(Hub.LIMIT, TimeUnit.SECONDS);
            assertNotNull(desired, "a patch in time");
            assertEquals(30.0, ((Number) desired.get("interval")).doubleValue());
            Map<?, ?> component = (Map<?, ?>) desired.get("thermostat1");
            assertEquals("c", component.get("__t"));
            assertEquals(42.0, ((Number) component.get("targetTemperature")).doubleValue());

            DIGITAL_TWINS.updateDigitalTwinWithResponse(
                device.id,
                new UpdateOperationUtility()
                    .appendReplacePropertyOperation("/thermostat1/targetTemperature", 43)
                    .appendRemovePropertyOperation("/interval")
                    .getUpdateOperations(),
                new DigitalTwinUpdateRequestOptions().setIfMatch('"' + response.headers().eTag() + '"'));

            BasicDigitalTwin twin = DIGITAL_TWINS.getDigitalTwin(device.id, BasicDigitalTwin.class);
            var left = Hub.TWINS.get(device.id).getDesiredProperties();
            assertNull(left.get("interval"));
            assertEquals("c", ((Map<?, ?>) left.get("thermostat1")).get("__t"));
            assertNotNull(twin.getCustomProperties().get("thermostat1"));
            assertEquals(
                43,
                json(device).getAsJsonObject("thermostat1").getAsJsonObject("$metadata")
                    .getAsJsonObject("targetTemperature").get("desiredValue").getAsInt());
        }
    }

    @Test
    void aBadPatchAStaleEtagAndAnUnknownDeviceAreRefused() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            List<Object> patch =
                new UpdateOperationUtility().appendAddPropertyOperation("/a", 1).getUpdateOperations();
            List<Object> array =
                new UpdateOperationUtility().appendAddPropertyOperation("/a", List.of(1)).getUpdateOperations();
            var stale = new DigitalTwinUpdateRequestOptions().setIfMatch("\"stale\"");

            assertStatus(412, () -> DIGITAL_TWINS.updateDigitalTwinWithResponse(device.id, patch, stale));
            assertStatus(400, () -> DIGITAL_TWINS.updateDigitalTwin(device.id, array));
            // The SDK takes what it does not find for nothing, without an error.
            assertEquals("null", DIGITAL_TWINS.getDigitalTwin(Hub.randomId(), String.class));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void commandsCarryTheStatusOfTheDevice(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = openWithModel(device, protocol);
            client.subscribeToMethods(
                (name, payload, context) -> new DirectMethodResponse(
                    404, Map.of("name", name, "asked", payload.getPayloadAsJsonElement())),
                null);
            var options = new DigitalTwinInvokeCommandRequestOptions();
            options.setConnectTimeoutInSeconds(Hub.LIMIT);
            options.setResponseTimeoutInSeconds(Hub.LIMIT);

            var root = DIGITAL_TWINS.invokeCommandWithResponse(device.id, "reboot", "now", options);
            var component = DIGITAL_TWINS.invokeComponentCommandWithResponse(
                device.id, "thermostat1", "getMaxMinReport", "2021-01-01", options);

            assertEquals(404, root.body().getStatus());
            assertEquals(answer("reboot", "now"), payload(root.body()));
            assertNotNull(root.headers().getRequestId());
            assertEquals(404, component.body().getStatus());
            assertEquals(answer("thermostat1*getMaxMinReport", "2021-01-01"), payload(component.body()));
            assertNotNull(component.headers().getRequestId());
        }
    }

    @Test
    void aCommandForNobodyIsRefused() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            assertStatus(404, () -> DIGITAL_TWINS.invokeCommand(device.id, "reboot"));
            assertStatus(404, () -> DIGITAL_TWINS.invokeComponentCommand(Hub.randomId(), "c", "reboot"));
        }
    }

    @Test
    void theAsynchronousClientReadsTheSameTwin() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            openWithModel(device, IotHubClientProtocol.MQTT);
            var client = new DigitalTwinAsyncClient(Hub.connectionString("service"));

            BasicDigitalTwin twin =
                client.getDigitalTwin(device.id, BasicDigitalTwin.class).toBlocking().single();

            assertEquals(MODEL, twin.getMetadata().getModelId());
        }
    }

    @Test
    void telemetryNamesItsComponent() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = openWithModel(device, IotHubClientProtocol.MQTT);
            Message message = new Message("{\"temperature\":21.5}");
            message.setProperty("$.sub", "thermostat1");

            client.sendEvent(message);

            var annotations = Hub.events(device.id).get(0).getAsJsonObject("annotations");
            assertEquals("thermostat1", annotations.get("dt-subject").getAsString());
            assertEquals(MODEL, annotations.get("dt-dataschema").getAsString());
        }
    }

    private static DeviceClient openWithModel(TestDevice device, IotHubClientProtocol protocol)
            throws Exception {
        ClientOptions options = ClientOptions.builder().modelId(MODEL).build();
        DeviceClient client = device.keep(new DeviceClient(device.connectionString(), protocol, options));
        client.open(false);
        return client;
    }

    /** The digital twin as text, which is how the SDK hands over what no class describes. */
    private static JsonObject json(TestDevice device) {
        return JsonParser.parseString(DIGITAL_TWINS.getDigitalTwin(device.id, String.class)).getAsJsonObject();
    }

    /** What the device answered: the SDK hands over a JSON string that holds JSON. */
    private static JsonElement payload(DigitalTwinCommandResponse response) {
        return JsonParser.parseString(response.getPayload(String.class));
    }

    private static JsonObject answer(String name, String asked) {
        JsonObject answer = new JsonObject();
        answer.add("name", new JsonPrimitive(name));
        answer.add("asked", new JsonPrimitive(asked));
        return answer;
    }

    private static void assertStatus(int status, Executable call) {
        assertEquals(status, assertThrows(RestException.class, call).response().code());
    }
}
