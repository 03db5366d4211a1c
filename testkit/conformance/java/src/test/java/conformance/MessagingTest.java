package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.FileUploadCompletionNotification;
import com.microsoft.azure.sdk.iot.device.FileUploadSasUriRequest;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubUnauthorizedException;
import com.microsoft.azure.sdk.iot.service.messaging.AcknowledgementType;
import com.microsoft.azure.sdk.iot.service.messaging.DeliveryAcknowledgement;
import com.microsoft.azure.sdk.iot.service.messaging.FeedbackRecord;
import com.microsoft.azure.sdk.iot.service.messaging.FeedbackStatusCode;
import com.microsoft.azure.sdk.iot.service.messaging.FileUploadNotification;
import com.microsoft.azure.sdk.iot.service.messaging.FileUploadNotificationProcessorClient;
import com.microsoft.azure.sdk.iot.service.messaging.IotHubServiceClientProtocol;
import com.microsoft.azure.sdk.iot.service.messaging.Message;
import com.microsoft.azure.sdk.iot.service.messaging.MessageFeedbackProcessorClient;
import com.microsoft.azure.sdk.iot.service.messaging.MessagingClient;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Base64;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The service SDK's messages to devices, and what it hears of them. */
class MessagingTest {
    @ParameterizedTest
    @EnumSource(IotHubServiceClientProtocol.class)
    void aMessageArrivesAndFeedbackComesBack(IotHubServiceClientProtocol protocol) throws Exception {
        BlockingQueue<FeedbackRecord> feedback = new LinkedBlockingQueue<>();
        var listener = new MessageFeedbackProcessorClient(service(), protocol, batch -> {
            feedback.addAll(batch.getRecords());
            return AcknowledgementType.COMPLETE;
        });
        MessagingClient sender = new MessagingClient(service(), protocol);
        try (TestDevice device = TestDevice.register()) {
            listener.start();
            sender.open();
            BlockingQueue<com.microsoft.azure.sdk.iot.device.Message> messages = receiver(device);

            Message message = new Message("{\"t\":21.5}");
            message.setMessageId("m-1");
            message.setCorrelationId("c&1=2");
            message.setDeliveryAcknowledgement(DeliveryAcknowledgement.Full);
            message.setProperties(Map.of("level", "high & low"));
            sender.send(device.id, message);

            var received = messages.poll(Hub.LIMIT, TimeUnit.SECONDS);
            assertNotNull(received, "a message in time");
            assertEquals("{\"t\":21.5}", new String(received.getBytes()));
            assertEquals("m-1", received.getMessageId());
            assertEquals("c&1=2", received.getCorrelationId());
            assertEquals("high & low", received.getProperty("level"));
            FeedbackRecord record = about(device, feedback);
            assertEquals("m-1", record.getOriginalMessageId());
            assertEquals(FeedbackStatusCode.success, record.getStatusCode());
        } finally {
            sender.close();
            listener.stop();
        }
    }

    @ParameterizedTest
    @EnumSource(IotHubServiceClientProtocol.class)
    void anUploadedFileIsAnnounced(IotHubServiceClientProtocol protocol) throws Exception {
        BlockingQueue<FileUploadNotification> notifications = new LinkedBlockingQueue<>();
        var listener = new FileUploadNotificationProcessorClient(service(), protocol, notification -> {
            notifications.add(notification);
            return AcknowledgementType.COMPLETE;
        });
        try (TestDevice device = TestDevice.register()) {
            listener.start();

            upload(device);

            FileUploadNotification notification;
            do {
                notification = notifications.poll(Hub.LIMIT, TimeUnit.SECONDS);
                assertNotNull(notification, "a notification in time");
            } while (!notification.getDeviceId().equals(device.id));
            assertEquals(device.id + "/a.txt", notification.getBlobName());
            assertEquals(7, notification.getBlobSizeInBytes());
            assertNotNull(notification.getEnqueuedTimeUtcDate());
        } finally {
            listener.stop();
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aModuleHasMessagesOfItsOwn(IotHubClientProtocol protocol) throws Exception {
        MessagingClient sender = new MessagingClient(service(), IotHubServiceClientProtocol.AMQPS);
        try (TestDevice device = TestDevice.register()) {
            sender.open();
            BlockingQueue<com.microsoft.azure.sdk.iot.device.Message> messages = new LinkedBlockingQueue<>();
            device.openModule("m1", protocol).setMessageCallback((message, context) -> {
                messages.add(message);
                return IotHubMessageResult.COMPLETE;
            }, null);

            sender.send(device.id, "m1", new Message("to the module"));

            var received = messages.poll(Hub.LIMIT, TimeUnit.SECONDS);
            assertNotNull(received, "a message in time");
            assertEquals("to the module", new String(received.getBytes()));
            Hub.awaitNotices(device.id + "/m1", "c2dEnded", 1);
        } finally {
            sender.close();
        }
    }

    @Test
    void anUnknownDeviceIsNotFound() throws Exception {
        MessagingClient sender = new MessagingClient(service(), IotHubServiceClientProtocol.AMQPS);
        try {
            sender.open();

            assertThrows(
                IotHubNotFoundException.class, () -> sender.send(Hub.randomId(), new Message("lost")));
        } finally {
            sender.close();
        }
    }

    @Test
    void aWrongKeyIsRefused() throws Exception {
        String wrong = Base64.getEncoder().encodeToString(new byte[32]);
        String connectionString = service().replaceAll("SharedAccessKey=.*", "SharedAccessKey=" + wrong);
        MessagingClient sender = new MessagingClient(connectionString, IotHubServiceClientProtocol.AMQPS);

        assertThrows(IotHubUnauthorizedException.class, sender::open);
    }

    private static String service() {
        return Hub.connectionString("service");
    }

    private static BlockingQueue<com.microsoft.azure.sdk.iot.device.Message> receiver(TestDevice device)
            throws Exception {
        BlockingQueue<com.microsoft.azure.sdk.iot.device.Message> messages = new LinkedBlockingQueue<>();
        device.open().setMessageCallback((message, context) -> {
            messages.add(message);
            return IotHubMessageResult.COMPLETE;
        }, null);
        return messages;
    }

    private static FeedbackRecord about(TestDevice device, BlockingQueue<FeedbackRecord> feedback)
            throws Exception {
        while (true) {
            FeedbackRecord record = feedback.poll(Hub.LIMIT, TimeUnit.SECONDS);
            assertNotNull(record, "feedback in time");
            if (record.getDeviceId().equals(device.id)) {
                return record;
            }
        }
    }

    /** Uploads a small file as the device. */
    private static void upload(TestDevice device) throws Exception {
        DeviceClient client = device.open();
        var info = client.getFileUploadSasUri(new FileUploadSasUriRequest("a.txt"));
        HttpRequest put = HttpRequest.newBuilder(info.getBlobUri())
            .header("x-ms-blob-type", "BlockBlob")
            .PUT(HttpRequest.BodyPublishers.ofString("content"))
            .build();
        var stored = HttpClient.newHttpClient().send(put, HttpResponse.BodyHandlers.discarding());
        assertEquals(201, stored.statusCode());
        client.completeFileUpload(new FileUploadCompletionNotification(info.getCorrelationId(), true));
    }
}
