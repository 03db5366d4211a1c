package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodPayload;
import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The quickstart "control a device connected to an IoT hub". */
class QuickstartTest {
    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void theBackEndControlsTheDeviceAndReadsItsTelemetry(IotHubClientProtocol protocol) throws Exception {
        AtomicInteger interval = new AtomicInteger(1);
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open(protocol);
            client.subscribeToMethods((name, payload, context) -> answer(name, payload, interval), null);

            for (int temperature : List.of(20, 21, 31)) {
                Message message = new Message("{\"temperature\":" + temperature + "}");
                message.setContentType("application/json");
                message.setContentEncoding("utf-8");
                message.setProperty("temperatureAlert", temperature > 30 ? "true" : "false");
                client.sendEvent(message);
            }
            var accepted = Hub.invoke(device.id, "SetTelemetryInterval", 2);
            var refused = Hub.invoke(device.id, "SetTelemetryInterval", "often");
            var unknown = Hub.invoke(device.id, "Reboot", null);

            assertEquals(200, accepted.getStatus());
            assertEquals("interval is 2", result(accepted));
            assertEquals(400, refused.getStatus());
            assertEquals("invalid parameter", result(refused));
            assertEquals(404, unknown.getStatus());
            assertEquals(2, interval.get());

            List<JsonObject> events = Hub.events(device.id);
            assertEquals(List.of(20, 21, 31), events.stream().map(QuickstartTest::temperature).toList());
            assertEquals(
                List.of("false", "false", "true"),
                events.stream()
                    .map(event -> event.getAsJsonObject("applicationProperties"))
                    .map(properties -> properties.get("temperatureAlert").getAsString())
                    .toList());
            JsonObject properties = events.get(0).getAsJsonObject("properties");
            assertEquals("application/json", properties.get("content-type").getAsString());
            assertEquals("utf-8", properties.get("content-encoding").getAsString());
        }
    }

    private static DirectMethodResponse answer(String name, DirectMethodPayload payload, AtomicInteger interval) {
        if (!name.equals("SetTelemetryInterval")) {
            return new DirectMethodResponse(404, Map.of("result", "unknown method " + name));
        }
        try {
            interval.set(payload.getPayloadAsJsonElement().getAsInt());
            return new DirectMethodResponse(200, Map.of("result", "interval is " + interval));
        } catch (NumberFormatException | UnsupportedOperationException error) {
            return new DirectMethodResponse(400, Map.of("result", "invalid parameter"));
        }
    }

    private static String result(com.microsoft.azure.sdk.iot.service.methods.DirectMethodResponse response) {
        return response.getPayloadAsJsonElement().getAsJsonObject().get("result").getAsString();
    }

    private static int temperature(JsonObject event) {
        JsonObject body = JsonParser.parseString(event.get("body").getAsString()).getAsJsonObject();
        return body.get("temperature").getAsInt();
    }
}
