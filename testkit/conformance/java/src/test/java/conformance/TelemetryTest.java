package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.ModuleClient;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Device-to-cloud messages and the properties that travel with them. */
class TelemetryTest {
    @ParameterizedTest
    @EnumSource(IotHubClientProtocol.class)
    void aMessageArrivesWithItsProperties(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Message message = new Message("{\"t\":21.5}");
            message.setMessageId("m-1");
            message.setCorrelationId("c-1");
            message.setContentType("application/json");
            message.setContentEncoding("utf-8");
            message.setProperty("level", "high+1%");

            device.open(protocol).sendEvent(message);

            List<JsonObject> events = Hub.events(device.id);
            assertEquals(1, events.size());
            JsonObject event = events.get(0);
            assertEquals("{\"t\":21.5}", event.get("body").getAsString());
            assertEquals("high+1%", text(event, "applicationProperties", "level"));
            assertEquals("m-1", text(event, "properties", "message-id"));
            assertEquals("c-1", text(event, "properties", "correlation-id"));
            assertEquals("application/json", text(event, "properties", "content-type"));
            assertEquals("utf-8", text(event, "properties", "content-encoding"));
            assertEquals(device.id, text(event, "annotations", "iothub-connection-device-id"));
            assertEquals("Telemetry", text(event, "annotations", "iothub-message-source"));
        }
    }

    /** The SDK sends a batch over HTTPS alone. */
    @Test
    void aBatchArrivesInOrder() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open(IotHubClientProtocol.HTTPS);
            List<Message> batch = new ArrayList<>();
            List<String> texts = new ArrayList<>();
            for (int number = 0; number < 20; number++) {
                Message message = new Message("number " + number);
                message.setProperty("number", String.valueOf(number));
                batch.add(message);
                texts.add("number " + number);
            }

            client.sendEvents(batch);

            assertEquals(texts, Hub.bodies(device.id));
            assertEquals("19", text(Hub.events(device.id).get(19), "applicationProperties", "number"));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void messagesOfOneDeviceKeepTheirOrder(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open(protocol);
            List<String> texts = new ArrayList<>();
            CountDownLatch acknowledged = new CountDownLatch(50);
            for (int number = 0; number < 50; number++) {
                texts.add(String.valueOf(number));
                client.sendEventAsync(
                    new Message(texts.get(number)),
                    (message, error, context) -> acknowledged.countDown(),
                    null);
            }

            assertTrue(acknowledged.await(Hub.LIMIT, TimeUnit.SECONDS));
            assertEquals(texts, Hub.bodies(device.id));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS", "HTTPS"})
    void binaryBodiesAreKeptAsTheyAre(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            device.open(protocol).sendEvent(new Message(new byte[] {0x00, (byte) 0xff, (byte) 0xfe}));

            JsonObject event = Hub.events(device.id).get(0);
            assertEquals("AP/+", event.get("body").getAsString());
            assertEquals("base64", event.get("bodyEncoding").getAsString());
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void aModuleSendsForItselfAndToAnOutput(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            ModuleClient module = device.openModule("m1", protocol);

            module.sendEvent(new Message("from an output"), "out1");
            module.sendEvent(new Message("from the module"));

            assertEquals(List.of("from an output", "from the module"), Hub.bodies(device.id));
            for (JsonObject event : Hub.events(device.id)) {
                assertEquals("m1", text(event, "annotations", "iothub-connection-module-id"));
            }
        }
    }

    private static String text(JsonObject event, String section, String name) {
        return event.getAsJsonObject(section).get(name).getAsString();
    }
}
