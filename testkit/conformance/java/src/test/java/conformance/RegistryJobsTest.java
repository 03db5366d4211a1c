package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.azure.core.util.BinaryData;
import com.azure.storage.blob.BlobContainerClient;
import com.azure.storage.blob.BlobContainerClientBuilder;
import com.azure.storage.blob.sas.BlobContainerSasPermission;
import com.azure.storage.blob.sas.BlobServiceSasSignatureValues;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubBadFormatException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.DeviceStatus;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.registry.RegistryClient;
import com.microsoft.azure.sdk.iot.service.registry.RegistryJob;
import com.microsoft.azure.sdk.iot.service.registry.StorageAuthenticationType;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Import and export of the registry through a container of the emulator's storage account. */
class RegistryJobsTest {
    private static final RegistryClient REGISTRY =
        new RegistryClient(Hub.connectionString("registryReadWrite"));

    @Test
    void whatWasExportedIsImportedAgain() throws Exception {
        try (Container container = new Container()) {
            Device device = new Device(Hub.randomId());
            device.setStatus(DeviceStatus.Disabled);
            Device created = REGISTRY.addDevice(device);
            REGISTRY.addModule(new Module(device.getDeviceId(), "m1"));
            Twin twin = new Twin(device.getDeviceId());
            twin.getTags().put("floor", "3");
            Hub.TWINS.patch(twin);

            RegistryJob exported = ended(REGISTRY.exportDevices(container.uri, false));
            assertEquals(RegistryJob.JobStatus.COMPLETED, exported.getStatus());
            assertEquals(RegistryJob.JobType.EXPORT, exported.getType());
            assertEquals(100, exported.getProgress());
            assertNotNull(exported.getEndTimeUtc());
            List<JsonObject> mine = container.lines("devices.txt").stream()
                .filter(line -> line.get("id").getAsString().equals(device.getDeviceId()))
                .toList();
            assertEquals(2, mine.size(), "the device and its module");
            container.write(
                "devices.txt", mine.stream().map(JsonObject::toString).collect(Collectors.joining("\n")));
            REGISTRY.removeDevice(device.getDeviceId());
            RegistryJob imported = ended(REGISTRY.importDevices(container.uri, container.uri));

            assertEquals(RegistryJob.JobStatus.COMPLETED, imported.getStatus());
            assertEquals(RegistryJob.JobType.IMPORT, imported.getType());
            Device again = REGISTRY.getDevice(device.getDeviceId());
            assertEquals(DeviceStatus.Disabled, again.getStatus());
            assertEquals(created.getPrimaryKey(), again.getPrimaryKey());
            assertEquals("m1", REGISTRY.getModule(device.getDeviceId(), "m1").getId());
            assertEquals("3", Hub.TWINS.get(device.getDeviceId()).getTags().get("floor"));
        }
    }

    @Test
    void aJobMadeOfParametersLeavesTheKeysOut() throws Exception {
        try (Container container = new Container(); TestDevice device = TestDevice.register()) {
            RegistryJob job =
                ended(REGISTRY.exportDevices(RegistryJob.createForExportJob(container.uri, true)));

            assertEquals(RegistryJob.JobStatus.COMPLETED, job.getStatus());
            List<JsonObject> lines = container.lines("devices.txt");
            assertTrue(lines.stream().anyMatch(line -> line.get("id").getAsString().equals(device.id)));
            for (JsonObject line : lines) {
                JsonObject keys =
                    line.getAsJsonObject("authentication").getAsJsonObject("symmetricKey");
                assertTrue(keys.get("primaryKey").isJsonNull(), line::toString);
            }
        }
    }

    /** The hub's own identity opens the emulator's storage account without a signature. */
    @Test
    void theHubsIdentityIsEnoughForItsStorage() throws Exception {
        try (Container container = new Container(); TestDevice device = TestDevice.register()) {
            String unsigned = container.client.getBlobContainerUrl();
            assertThrows(IotHubBadFormatException.class, () -> REGISTRY.exportDevices(unsigned, false));

            RegistryJob job = ended(REGISTRY.exportDevices(
                RegistryJob.createForExportJob(unsigned, true, StorageAuthenticationType.IDENTITY)));

            assertEquals(RegistryJob.JobStatus.COMPLETED, job.getStatus());
            assertEquals(StorageAuthenticationType.IDENTITY, job.getStorageAuthenticationType());
            assertTrue(container.lines("devices.txt").stream()
                .anyMatch(line -> line.get("id").getAsString().equals(device.id)));
        }
    }

    @Test
    void anImportSaysWhatItCouldNotDo() throws Exception {
        try (Container container = new Container(); TestDevice device = TestDevice.register()) {
            String fresh = Hub.randomId();
            container.write(
                "devices.txt",
                "{\"id\":\"" + fresh + "\",\"importMode\":\"create\"}\n"
                    + "{\"id\":\"" + device.id + "\",\"importMode\":\"create\"}\n");

            RegistryJob job = ended(REGISTRY.importDevices(
                RegistryJob.createForImportJob(container.uri, container.uri)));

            assertEquals(RegistryJob.JobStatus.COMPLETED, job.getStatus());
            assertEquals(fresh, REGISTRY.getDevice(fresh).getDeviceId());
            JsonObject error = container.lines("importErrors.log").get(0);
            assertEquals(device.id, error.get("deviceId").getAsString());
            assertEquals(409001, error.get("errorCode").getAsInt());
        }
    }

    @Test
    void storageOfSomebodyElseAndUnknownJobsAreRefused() {
        String foreign = "https://account.blob.core.windows.net/c"
            + "?sv=2018-03-28&sr=c&sig=AAAA&sp=rwdl&se=2099-01-01";

        assertThrows(IotHubBadFormatException.class, () -> REGISTRY.exportDevices(foreign, false));
        assertThrows(IotHubNotFoundException.class, () -> REGISTRY.getJob("unknown"));
    }

    /** A container, gone when the test ends, and a URI that lets its holder use it. */
    private static final class Container implements AutoCloseable {
        final String uri;
        private final BlobContainerClient client;

        Container() {
            client = new BlobContainerClientBuilder()
                .connectionString(Hub.storage())
                .containerName(Hub.randomId())
                .buildClient();
            client.create();
            BlobContainerSasPermission all = BlobContainerSasPermission.parse("rwdl");
            var values = new BlobServiceSasSignatureValues(OffsetDateTime.now().plusHours(1), all);
            uri = client.getBlobContainerUrl() + "?" + client.generateSas(values);
        }

        List<JsonObject> lines(String name) {
            return client.getBlobClient(name).downloadContent().toString().lines()
                .filter(line -> !line.isEmpty())
                .map(line -> JsonParser.parseString(line).getAsJsonObject())
                .toList();
        }

        void write(String name, String text) {
            client.getBlobClient(name).upload(BinaryData.fromString(text), true);
        }

        @Override
        public void close() {
            client.delete();
        }
    }

    /** The job once it is neither waiting nor running; nothing but asking tells. */
    private static RegistryJob ended(RegistryJob job) throws Exception {
        for (int tries = 0; tries < Hub.LIMIT * 20; tries++) {
            RegistryJob now = REGISTRY.getJob(job.getJobId());
            switch (now.getStatus()) {
                case ENQUEUED, RUNNING -> Thread.sleep(50);
                default -> {
                    return now;
                }
            }
        }
        throw new AssertionError(job.getJobId() + " has not ended");
    }
}
