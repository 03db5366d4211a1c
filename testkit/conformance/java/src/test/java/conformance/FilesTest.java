package conformance;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.azure.core.util.BinaryData;
import com.azure.storage.blob.BlobClient;
import com.azure.storage.blob.BlobClientBuilder;
import com.azure.storage.blob.BlobContainerClient;
import com.azure.storage.blob.BlobContainerClientBuilder;
import com.azure.storage.blob.models.BlobErrorCode;
import com.azure.storage.blob.models.BlobItem;
import com.azure.storage.blob.models.BlobStorageException;
import com.azure.storage.blob.models.BlockListType;
import com.azure.storage.blob.models.ListBlobsOptions;
import com.azure.storage.blob.models.ParallelTransferOptions;
import com.azure.storage.blob.options.BlobParallelUploadOptions;
import com.azure.storage.blob.specialized.BlockBlobClient;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.FileUploadCompletionNotification;
import com.microsoft.azure.sdk.iot.device.FileUploadSasUriRequest;
import com.microsoft.azure.sdk.iot.device.FileUploadSasUriResponse;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** File upload with the storage library, as an application would do it. */
class FilesTest {
    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "HTTPS"})
    void aFileIsUploadedAndReadBack(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Upload upload = new Upload(device.open(protocol), "logs/report-1.bin");
            byte[] content = bytes(64 * 1024);

            upload.blob.upload(BinaryData.fromBytes(content), true);
            upload.blob.setMetadata(Map.of("kind", "report"));
            upload.finish(true);

            assertEquals(device.id + "/logs/report-1.bin", upload.info.getBlobName());
            assertArrayEquals(content, upload.blob.downloadContent().toBytes());
            var properties = upload.blob.getProperties();
            assertEquals(content.length, properties.getBlobSize());
            assertEquals(Map.of("kind", "report"), properties.getMetadata());
            ListBlobsOptions own = new ListBlobsOptions().setPrefix(device.id + "/");
            List<String> names =
                uploads().listBlobs(own, null).stream().map(BlobItem::getName).toList();
            assertEquals(List.of(upload.info.getBlobName()), names);
        }
    }

    @Test
    void aLargeFileGoesUpInBlocksSideBySide() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Upload upload = new Upload(device.open(), "large.bin");
            byte[] content = bytes(3 * 1024 * 1024);
            ParallelTransferOptions blocks = new ParallelTransferOptions()
                .setBlockSizeLong(256L * 1024)
                .setMaxSingleUploadSizeLong(1024L)
                .setMaxConcurrency(4);

            upload.blob.uploadWithResponse(
                new BlobParallelUploadOptions(BinaryData.fromBytes(content))
                    .setParallelTransferOptions(blocks)
                    .setMetadata(Map.of("kind", "large")),
                null, null);
            upload.finish(true);

            assertArrayEquals(content, upload.blob.downloadContent().toBytes());
            var committed =
                upload.blob.getBlockBlobClient().listBlocks(BlockListType.COMMITTED).getCommittedBlocks();
            assertEquals(12, committed.size());
        }
    }

    @Test
    void blocksAreCommittedInTheOrderOfTheList() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Upload upload = new Upload(device.open(), "blocks.txt");
            BlockBlobClient blob = upload.blob.getBlockBlobClient();

            stage(blob, "Yg==", "world");
            stage(blob, "YQ==", "hello ");
            stage(blob, "Yw==", "never");
            assertEquals(3, blob.listBlocks(BlockListType.ALL).getUncommittedBlocks().size());
            blob.commitBlockList(List.of("YQ==", "Yg=="));
            upload.finish(true);

            assertEquals("hello world", upload.blob.downloadContent().toString());
            assertEquals(0, blob.listBlocks(BlockListType.ALL).getUncommittedBlocks().size());
        }
    }

    @Test
    void aBlobThatExistsIsNotOverwrittenUnasked() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Upload upload = new Upload(device.open(), "once.txt");
            upload.blob.upload(BinaryData.fromString("first"));

            var error = assertThrows(
                BlobStorageException.class, () -> upload.blob.upload(BinaryData.fromString("second")));

            assertEquals(BlobErrorCode.BLOB_ALREADY_EXISTS, error.getErrorCode());
            upload.finish(true);
        }
    }

    @Test
    void aSignatureOpensNothingElse() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Upload upload = new Upload(device.open(), "mine.txt");
            String elsewhere = upload.info.getBlobUri().toString().replace("mine.txt", "yours.txt");
            BlobClient other = new BlobClientBuilder().endpoint(elsewhere).buildClient();

            assertForbidden(() -> other.upload(BinaryData.fromString("x")));
            assertForbidden(upload.blob::delete);
        }
    }

    @Test
    void anUploadWhoseFileNeverCameCannotSucceed() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Upload upload = new Upload(device.open(), "never.txt");

            var error = assertThrows(IotHubClientException.class, () -> upload.finish(true));

            assertEquals(IotHubStatusCode.BAD_FORMAT, error.getStatusCode());
            upload.finish(false);
        }
    }

    @Test
    void tenUploadsMayBeInProgress() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open();
            Upload first = new Upload(client, "file-0");
            for (int number = 1; number < 10; number++) {
                new Upload(client, "file-" + number);
            }

            assertThrows(IotHubClientException.class, () -> new Upload(client, "one-too-many"));

            first.finish(false);
            new Upload(client, "room-again");
        }
    }

    /** An upload in progress, and the storage library's client of its blob. */
    private static final class Upload {
        final FileUploadSasUriResponse info;
        final BlobClient blob;
        private final DeviceClient client;

        Upload(DeviceClient client, String name) throws Exception {
            this.client = client;
            info = client.getFileUploadSasUri(new FileUploadSasUriRequest(name));
            blob = new BlobClientBuilder().endpoint(info.getBlobUri().toString()).buildClient();
        }

        void finish(boolean success) throws IotHubClientException {
            client.completeFileUpload(new FileUploadCompletionNotification(
                info.getCorrelationId(), success, success ? 200 : 500, success ? "ok" : "gave up"));
        }
    }

    /** The container of devices' files, opened by the account's key. */
    private static BlobContainerClient uploads() {
        return new BlobContainerClientBuilder()
            .connectionString(Hub.storage())
            .containerName("uploads")
            .buildClient();
    }

    private static void stage(BlockBlobClient blob, String id, String text) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        blob.stageBlock(id, new ByteArrayInputStream(bytes), bytes.length);
    }

    private static void assertForbidden(Executable call) {
        assertEquals(403, assertThrows(BlobStorageException.class, call).getStatusCode());
    }

    private static byte[] bytes(int length) {
        byte[] bytes = new byte[length];
        new Random(length).nextBytes(bytes);
        return bytes;
    }
}
