package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.InternalClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.ModuleClient;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubBadFormatException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubPreconditionFailedException;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Twins, written from both ends. */
class TwinsTest {
    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void aDesiredPatchReachesTheDevice(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            BlockingQueue<TwinCollection> patches = desiredPatches(device.open(protocol));

            Twin patch = new Twin(device.id);
            patch.getDesiredProperties().put("interval", 30);
            patch.getDesiredProperties().put("mode", Map.of("fan", "low"));
            Hub.TWINS.patch(patch);

            TwinCollection desired = patches.poll(Hub.LIMIT, TimeUnit.SECONDS);
            assertNotNull(desired, "no desired patch");
            assertEquals(2, desired.getVersion());
            assertEquals(30.0, ((Number) desired.get("interval")).doubleValue());
            assertEquals("low", ((Map<?, ?>) desired.get("mode")).get("fan"));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS"})
    void reportedPropertiesReachTheBackEnd(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open(protocol);
            client.subscribeToDesiredProperties((twin, context) -> { }, null);

            TwinCollection reported = TestDevice.twin(client).getReportedProperties();
            reported.put("battery", 80);
            reported.put("net", Map.of("ssid", "home"));
            TestDevice.report(client, reported);

            Twin twin = Hub.TWINS.get(device.id);
            assertEquals(2, twin.getReportedProperties().getVersion());
            assertEquals(80.0, ((Number) twin.getReportedProperties().get("battery")).doubleValue());
            assertNotNull(twin.getReportedProperties().getTwinMetadata("battery").getLastUpdated());
            assertEquals("home", ((Map<?, ?>) TestDevice.twin(client).getReportedProperties().get("net")).get("ssid"));
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aReportedPatchWithAStaleVersionIsRefused(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open(protocol);
            client.subscribeToDesiredProperties((twin, context) -> { }, null);
            TwinCollection stale = TestDevice.twin(client).getReportedProperties();
            stale.put("a", 1);
            TestDevice.report(client, stale);

            // The SDK sends the version that the collection was read with.
            var refused = assertThrows(IotHubClientException.class, () -> reportUntilRefused(client, stale));
            assertEquals(IotHubStatusCode.PRECONDITION_FAILED, refused.getStatusCode());

            assertEquals(2, TestDevice.twin(client).getReportedProperties().getVersion());
        }
    }

    @Test
    void tagsAndEtagsBelongToTheBackEnd() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            String before = Hub.TWINS.get(device.id).getETag();

            Twin tags = new Twin(device.id);
            tags.getTags().put("site", Map.of("floor", "1"));
            Twin after = Hub.TWINS.patch(tags, before);

            assertEquals("1", ((Map<?, ?>) after.getTags().get("site")).get("floor"));
            assertNotEquals(before, after.getETag());
            assertThrows(IotHubPreconditionFailedException.class, () -> Hub.TWINS.patch(tags, before));
        }
    }

    @Test
    void replacingATwinDropsWhatIsNotNamed() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Twin old = new Twin(device.id);
            old.getDesiredProperties().put("old", 1);
            Hub.TWINS.patch(old);

            Twin replacement = new Twin(device.id);
            replacement.getDesiredProperties().put("new", 2);
            Twin twin = Hub.TWINS.replace(replacement);

            assertFalse(twin.getDesiredProperties().containsKey("old"));
            assertEquals(2.0, ((Number) twin.getDesiredProperties().get("new")).doubleValue());
            assertEquals(3, twin.getDesiredProperties().getVersion());
        }
    }

    @Test
    void anIllegalKeyIsRefused() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Twin illegal = new Twin(device.id);
            illegal.getDesiredProperties().put("a b", 1);

            assertThrows(IotHubBadFormatException.class, () -> Hub.TWINS.patch(illegal));
        }
    }

    @Test
    void anUnknownTwinIsNotFound() {
        assertThrows(IotHubNotFoundException.class, () -> Hub.TWINS.get(Hub.randomId()));
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aModuleHasATwinOfItsOwn(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            ModuleClient client = device.openModule("m1", protocol);
            BlockingQueue<TwinCollection> patches = desiredPatches(client);

            Twin patch = new Twin(device.id, "m1");
            patch.getDesiredProperties().put("rate", 5);
            Hub.TWINS.patch(patch);

            TwinCollection desired = patches.poll(Hub.LIMIT, TimeUnit.SECONDS);
            assertNotNull(desired, "no desired patch");
            assertEquals(5.0, ((Number) desired.get("rate")).doubleValue());
            assertFalse(Hub.TWINS.get(device.id).getDesiredProperties().containsKey("rate"));
        }
    }

    /** Ends only with a refusal: see {@link TestDevice#twin}. */
    private static void reportUntilRefused(InternalClient client, TwinCollection reported) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(Hub.LIMIT);
        while (System.nanoTime() < deadline) {
            TestDevice.report(client, reported);
        }
    }

    private static BlockingQueue<TwinCollection> desiredPatches(InternalClient client) throws Exception {
        BlockingQueue<TwinCollection> patches = new LinkedBlockingQueue<>();
        client.subscribeToDesiredProperties((twin, context) -> patches.add(twin.getDesiredProperties()), null);
        return patches;
    }
}
