package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;

import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubMessageResult;
import com.microsoft.azure.sdk.iot.device.Message;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Cloud-to-device messages. */
class C2dTest {
    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "MQTT_WS", "AMQPS", "AMQPS_WS", "HTTPS"})
    void aMessageArrivesWithItsProperties(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Hub.sendC2d(
                device.id, "{\"t\":21.5}",
                "iothub-messageid", "m-1",
                "iothub-correlationid", "c&1=2",
                "iothub-contenttype", "application/json",
                "iothub-contentencoding", "utf-8",
                "iothub-app-level", "high & low");

            DeviceClient client = device.client(protocol);
            BlockingQueue<Message> messages = receiver(client);
            client.open(false);

            Message message = next(messages);
            assertEquals("{\"t\":21.5}", body(message));
            assertEquals("m-1", message.getMessageId());
            assertEquals("c&1=2", message.getCorrelationId());
            assertEquals("high & low", message.getProperty("level"));
            if (protocol != IotHubClientProtocol.HTTPS) {
                // Over HTTPS the SDK does not look for these.
                assertEquals("application/json", message.getContentType());
                assertEquals("utf-8", message.getContentEncoding());
            }
            awaitSettled(device, 1);
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void messagesArriveInOrderAndAfterAReconnect(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.client(protocol);
            BlockingQueue<Message> messages = receiver(client);
            client.open(false);
            for (String text : new String[] {"1", "2", "3"}) {
                Hub.sendC2d(device.id, text);
            }
            for (String text : new String[] {"1", "2", "3"}) {
                assertEquals(text, body(next(messages)));
            }
            awaitSettled(device, 3);

            Hub.drop(device.id);
            Hub.sendC2d(device.id, "meanwhile");

            assertEquals("meanwhile", body(next(messages)));
            awaitSettled(device, 4);
        }
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"AMQPS", "AMQPS_WS"})
    void anAbandonedMessageComesAgainAndARejectedOneDoesNot(IotHubClientProtocol protocol) throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.client(protocol);
            BlockingQueue<Message> messages = receiver(
                client, IotHubMessageResult.ABANDON, IotHubMessageResult.ABANDON, IotHubMessageResult.REJECT);
            client.open(false);

            Hub.sendC2d(device.id, "again");
            for (int delivery = 0; delivery < 3; delivery++) {
                assertEquals("again", body(next(messages)));
            }
            awaitSettled(device, 1);
            Hub.sendC2d(device.id, "then");

            assertEquals("then", body(next(messages)));
            awaitSettled(device, 2);
        }
    }

    /** Settles messages in these ways, then completes them. */
    private static BlockingQueue<Message> receiver(DeviceClient client, IotHubMessageResult... results) {
        BlockingQueue<Message> messages = new LinkedBlockingQueue<>();
        Iterator<IotHubMessageResult> next = List.of(results).iterator();
        client.setMessageCallback((message, context) -> {
            messages.add(message);
            return next.hasNext() ? next.next() : IotHubMessageResult.COMPLETE;
        }, null);
        return messages;
    }

    private static Message next(BlockingQueue<Message> messages) throws InterruptedException {
        Message message = messages.poll(Hub.LIMIT, TimeUnit.SECONDS);
        assertNotNull(message, "a message in time");
        return message;
    }

    private static String body(Message message) {
        return new String(message.getBytes(), StandardCharsets.UTF_8);
    }

    /** Waits until as many messages have left the device's queue as were sent to it. */
    private static void awaitSettled(TestDevice device, int messages) throws Exception {
        Hub.awaitNotices(device.id, "c2dEnded", messages);
        assertEquals(0, Hub.waitingC2d(device.id));
    }
}
