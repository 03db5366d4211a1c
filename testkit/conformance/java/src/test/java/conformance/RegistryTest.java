package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.azure.core.credential.AzureSasCredential;
import com.microsoft.azure.sdk.iot.service.auth.AuthenticationType;
import com.microsoft.azure.sdk.iot.service.auth.IotHubConnectionStringBuilder;
import com.microsoft.azure.sdk.iot.service.auth.IotHubServiceSasToken;
import com.microsoft.azure.sdk.iot.service.auth.SymmetricKey;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubConflictException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubPreconditionFailedException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubUnauthorizedException;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.DeviceStatus;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.registry.RegistryClient;
import com.microsoft.azure.sdk.iot.service.twin.DeviceCapabilities;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Identity registry through the service SDK. */
class RegistryTest {
    @Test
    void aDeviceIsCreatedReadUpdatedAndDeleted() throws Exception {
        Device created = Hub.REGISTRY.addDevice(new Device(Hub.randomId()));
        String id = created.getDeviceId();
        assertEquals(DeviceStatus.Enabled, created.getStatus());
        assertThrows(IotHubConflictException.class, () -> Hub.REGISTRY.addDevice(new Device(id)));

        created.setStatus(DeviceStatus.Disabled);
        Device updated = Hub.REGISTRY.updateDevice(created);
        assertEquals(DeviceStatus.Disabled, updated.getStatus());
        assertEquals(created.getPrimaryKey(), updated.getPrimaryKey());
        assertNotEquals(created.getETag(), updated.getETag());

        assertThrows(IotHubPreconditionFailedException.class, () -> Hub.REGISTRY.removeDevice(created));
        Hub.REGISTRY.removeDevice(Hub.REGISTRY.getDevice(id));
        assertThrows(IotHubNotFoundException.class, () -> Hub.REGISTRY.getDevice(id));
        assertThrows(IotHubNotFoundException.class, () -> Hub.REGISTRY.removeDevice(id));
    }

    @Test
    void aThumbprintMakesASelfSignedDevice() throws Exception {
        Device device = new Device(Hub.randomId(), AuthenticationType.SELF_SIGNED);
        device.setThumbprint("A".repeat(40), "B".repeat(40));

        Device created = Hub.REGISTRY.addDevice(device);

        assertEquals(AuthenticationType.SELF_SIGNED, created.getAuthenticationType());
        assertEquals("A".repeat(40), created.getPrimaryThumbprint());
    }

    @Test
    void aModuleIsCreatedReadAndDeleted() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Hub.REGISTRY.addModule(new Module(device.id, "m1"));

            assertEquals("m1", Hub.REGISTRY.getModule(device.id, "m1").getId());
            assertEquals(1, Hub.REGISTRY.getModulesOnDevice(device.id).size());
            assertThrows(
                IotHubConflictException.class,
                () -> Hub.REGISTRY.addModule(new Module(device.id, "m1")));

            Hub.REGISTRY.removeModule(device.id, "m1");
            assertTrue(Hub.REGISTRY.getModulesOnDevice(device.id).isEmpty());
        }
    }

    @Test
    void aModuleIsUpdatedUnlessItsEtagIsStale() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Module created = Hub.REGISTRY.addModule(new Module(device.id, "m1"));
            SymmetricKey keys = new SymmetricKey();
            created.setSymmetricKey(keys);

            Module updated = Hub.REGISTRY.updateModule(created);

            assertEquals(keys.getPrimaryKey(), updated.getPrimaryKey());
            assertNotEquals(created.getETag(), updated.getETag());
            assertThrows(IotHubPreconditionFailedException.class, () -> Hub.REGISTRY.removeModule(created));
            Hub.REGISTRY.removeModule(updated);
            assertThrows(IotHubNotFoundException.class, () -> Hub.REGISTRY.getModule(device.id, "m1"));
        }
    }

    @Test
    void aDeviceIsTheChildOfAnEdge() throws Exception {
        Device edge = new Device(Hub.randomId());
        DeviceCapabilities capabilities = new DeviceCapabilities();
        capabilities.setIotEdge(true);
        edge.setCapabilities(capabilities);
        edge = Hub.REGISTRY.addDevice(edge);
        assertTrue(edge.getCapabilities().isIotEdge());
        Device child = new Device(Hub.randomId());
        child.setScope(edge.getScope());

        child = Hub.REGISTRY.addDevice(child);

        assertEquals(edge.getScope(), child.getScope());
        assertEquals(List.of(edge.getScope()), child.getParentScopes());
        assertEquals(2, Hub.REGISTRY.getModulesOnDevice(edge.getDeviceId()).size());
    }

    @Test
    void aPolicyKeyPermitsItsOwnOperationsOnly() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            RegistryClient reader = new RegistryClient(Hub.connectionString("registryRead"));
            RegistryClient service = new RegistryClient(Hub.connectionString("service"));

            assertEquals(device.id, reader.getDevice(device.id).getDeviceId());
            assertThrows(IotHubUnauthorizedException.class, () -> reader.removeDevice(device.id));
            assertThrows(IotHubUnauthorizedException.class, () -> service.getDevice(device.id));
        }
    }

    @Test
    void aSignatureIsGoodInPlaceOfAConnectionString() throws Exception {
        var connectionString =
            IotHubConnectionStringBuilder.createIotHubConnectionString(Hub.connectionString("iothubowner"));
        var credential = new AzureSasCredential(new IotHubServiceSasToken(connectionString).toString());
        try (TestDevice device = TestDevice.register()) {
            RegistryClient client = new RegistryClient(Hub.hostName(), credential);
            assertEquals(device.id, client.getDevice(device.id).getDeviceId());

            credential.update("SharedAccessSignature sr=" + Hub.hostName() + "&sig=AAAA&se=1&skn=iothubowner");
            assertThrows(IotHubUnauthorizedException.class, () -> client.getDevice(device.id));
        }
    }

    @Test
    void statisticsCountTheDevices() throws Exception {
        Device disabled = new Device(Hub.randomId());
        disabled.setStatus(DeviceStatus.Disabled);
        Hub.REGISTRY.addDevice(disabled);
        try (TestDevice device = TestDevice.register()) {
            var statistics = Hub.REGISTRY.getStatistics();

            // The SDK looks for the number of enabled devices under a name that no hub gives it.
            assertTrue(statistics.getDisabledDeviceCount() >= 1);
            assertTrue(statistics.getTotalDeviceCount() > statistics.getDisabledDeviceCount());
        }
    }
}
