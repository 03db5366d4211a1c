package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.microsoft.azure.sdk.iot.service.configurations.Configuration;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationContent;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationMetrics;
import com.microsoft.azure.sdk.iot.service.configurations.ConfigurationsClient;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubBadFormatException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubConflictException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubPreconditionFailedException;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.twin.DeviceCapabilities;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Automatic device management and edge deployments. */
class ConfigurationsTest {
    private static final ConfigurationsClient CONFIGURATIONS =
        new ConfigurationsClient(Hub.connectionString("iothubowner"));

    @Test
    void aConfigurationFollowsTheTags() throws Exception {
        try (TestDevice device = TestDevice.register(); Added added = new Added(chiller(device))) {
            Configuration created = added.create();
            assertEquals("1.0", created.getSchemaVersion());
            assertEquals(Map.of("app", "conformance"), created.getLabels());
            assertEquals(10, created.getPriority());
            assertEquals(
                json(Map.of("properties.desired.chiller", Map.of("temp", 66))),
                json(created.getContent().getDeviceContent()));
            assertEquals(Map.of("targetedCount", 0L, "appliedCount", 0L), created.getSystemMetrics().getResults());

            tag(device, device.id);
            assertEquals(json(Map.of("chiller", Map.of("temp", 66))), desired(device.id));
            Configuration read = CONFIGURATIONS.get(created.getId());
            assertEquals(Map.of("targetedCount", 1L, "appliedCount", 1L), read.getSystemMetrics().getResults());
            assertEquals(Map.of("mine", 1L), read.getMetrics().getResults());

            tag(device, null);
            assertEquals(json(Map.of()), desired(device.id));
        }
    }

    @Test
    void aConfigurationIsReplacedListedAndDeleted() throws Exception {
        try (TestDevice device = TestDevice.register(); Added added = new Added(chiller(device))) {
            Configuration created = added.create();
            assertThrows(IotHubConflictException.class, added::create);

            created.setPriority(3);
            created.setTargetCondition("deviceId='" + device.id + "'");
            Configuration replaced = CONFIGURATIONS.replace(created);

            assertEquals(3, replaced.getPriority());
            assertNotEquals(created.getEtag(), replaced.getEtag());
            assertEquals(json(Map.of("chiller", Map.of("temp", 66))), desired(device.id));
            Set<String> listed =
                CONFIGURATIONS.get(20).stream().map(Configuration::getId).collect(Collectors.toSet());
            assertTrue(listed.contains(created.getId()), () -> created.getId() + " is not among " + listed);
            assertThrows(IotHubPreconditionFailedException.class, () -> CONFIGURATIONS.delete(created));
            CONFIGURATIONS.delete(replaced);
            assertThrows(IotHubNotFoundException.class, () -> CONFIGURATIONS.get(created.getId()));
            assertEquals(json(Map.of()), desired(device.id));
        }
    }

    @Test
    void theHigherPriorityWins() throws Exception {
        try (TestDevice device = TestDevice.register();
                Added low = new Added(chiller(device)); Added high = new Added(chiller(device))) {
            String condition = "deviceId='" + device.id + "'";
            low.configuration.setTargetCondition(condition);
            low.configuration.setPriority(1);
            low.setDeviceContent(Map.of("properties.desired", Map.of("a", "low", "b", "low")));
            high.configuration.setTargetCondition(condition);
            high.configuration.setPriority(9);
            high.setDeviceContent(Map.of("properties.desired.a", "high"));

            low.create();
            high.create();
            assertEquals(json(Map.of("a", "high", "b", "low")), desired(device.id));

            CONFIGURATIONS.delete(high.configuration.getId());
            assertEquals(json(Map.of("a", "low", "b", "low")), desired(device.id));
        }
    }

    @Test
    void whatBreaksARuleIsRefused() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Configuration noTarget = chiller(device);
            noTarget.setTargetCondition("SELECT * FROM devices");
            Configuration noMetric = chiller(device);
            noMetric.getMetrics().setQueries(Map.of("m", "nonsense"));
            Configuration noSection = chiller(device);
            noSection.getContent().setDeviceContent(Map.of("tags.a", 1));

            for (Configuration refused : new Configuration[] {noTarget, noMetric, noSection}) {
                assertThrows(IotHubBadFormatException.class, () -> CONFIGURATIONS.create(refused));
                assertThrows(IotHubNotFoundException.class, () -> CONFIGURATIONS.get(refused.getId()));
            }
        }
    }

    @Test
    void aModuleIsConfigured() throws Exception {
        try (TestDevice device = TestDevice.register(); Added added = new Added(chiller(device))) {
            Hub.REGISTRY.addModule(new Module(device.id, "sensor"));
            added.configuration.setTargetCondition(
                "FROM devices.modules WHERE deviceId='" + device.id + "' AND moduleId='sensor'");
            ConfigurationContent content = new ConfigurationContent();
            content.setModuleContent(Map.of("properties.desired.rate", 5));
            added.configuration.setContent(content);

            added.create();

            assertEquals(json(Map.of("rate", 5)), desired(device.id, "sensor"));
            assertEquals(json(Map.of()), desired(device.id));
        }
    }

    @Test
    void anEdgeIsDeployedTo() throws Exception {
        String edge = edge();
        try (Added added = new Added(new Configuration(Hub.randomId()))) {
            ConfigurationContent content = new ConfigurationContent();
            content.setModulesContent(modules(5));
            CONFIGURATIONS.applyConfigurationContentOnDevice(edge, content);
            assertEquals(json(Map.of("schemaVersion", "1.1")), desired(edge, "$edgeAgent"));
            assertEquals(json(Map.of("rate", 5)), desired(edge, "sensor"));

            content.setModulesContent(modules(6));
            added.configuration.setContent(content);
            added.configuration.setTargetCondition("deviceId='" + edge + "'");
            added.configuration.setPriority(1);
            added.create();

            assertEquals(json(Map.of("rate", 6)), desired(edge, "sensor"));
            Set<String> modules = Hub.REGISTRY.getModulesOnDevice(edge).stream()
                .map(Module::getId)
                .collect(Collectors.toSet());
            assertEquals(Set.of("$edgeAgent", "$edgeHub", "sensor"), modules);
        } finally {
            Hub.REGISTRY.removeDevice(edge);
        }
    }

    @Test
    void onlyAnEdgeHasContentApplied() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            ConfigurationContent content = new ConfigurationContent();
            content.setModulesContent(modules(5));

            assertThrows(
                IotHubBadFormatException.class,
                () -> CONFIGURATIONS.applyConfigurationContentOnDevice(device.id, content));
        }
    }

    /** A configuration that is gone when the test ends. */
    private static final class Added implements AutoCloseable {
        final Configuration configuration;

        Added(Configuration configuration) {
            this.configuration = configuration;
        }

        Configuration create() throws Exception {
            return CONFIGURATIONS.create(configuration);
        }

        void setDeviceContent(Map<String, Object> content) {
            configuration.getContent().setDeviceContent(content);
        }

        @Override
        public void close() throws Exception {
            try {
                CONFIGURATIONS.delete(configuration.getId());
            } catch (IotHubNotFoundException gone) {
                // The test has deleted it, or never created it.
            }
        }
    }

    /** For one device, by a tag that only it gets. */
    private static Configuration chiller(TestDevice device) {
        Configuration configuration = new Configuration(Hub.randomId());
        ConfigurationContent content = new ConfigurationContent();
        content.setDeviceContent(Map.of("properties.desired.chiller", Map.of("temp", 66)));
        configuration.setContent(content);
        configuration.setTargetCondition("tags.site='" + device.id + "'");
        configuration.setPriority(10);
        configuration.setLabels(new HashMap<>(Map.of("app", "conformance")));
        ConfigurationMetrics metrics = new ConfigurationMetrics();
        metrics.setQueries(Map.of("mine", "SELECT deviceId FROM devices WHERE deviceId='" + device.id + "'"));
        configuration.setMetrics(metrics);
        return configuration;
    }

    private static String edge() throws Exception {
        Device edge = new Device(Hub.randomId());
        DeviceCapabilities capabilities = new DeviceCapabilities();
        capabilities.setIotEdge(true);
        edge.setCapabilities(capabilities);
        return Hub.REGISTRY.addDevice(edge).getDeviceId();
    }

    private static Map<String, Map<String, Object>> modules(int rate) {
        return Map.of(
            "$edgeAgent", Map.of("properties.desired", Map.of("schemaVersion", "1.1")),
            "$edgeHub", Map.of("properties.desired", Map.of("schemaVersion", "1.1")),
            "sensor", Map.of("properties.desired.rate", rate));
    }

    private static void tag(TestDevice device, String site) throws Exception {
        Twin twin = new Twin(device.id);
        twin.getTags().put("site", site);
        Hub.TWINS.patch(twin);
    }

    private static JsonElement desired(String deviceId) throws Exception {
        return json(new HashMap<>(Hub.TWINS.get(deviceId).getDesiredProperties()));
    }

    private static JsonElement desired(String deviceId, String moduleId) throws Exception {
        return json(new HashMap<>(Hub.TWINS.get(deviceId, moduleId).getDesiredProperties()));
    }

    /** The SDK's maps have numbers of several types; as JSON they compare. */
    private static JsonElement json(Map<String, Object> value) {
        return new Gson().toJsonTree(value);
    }
}
