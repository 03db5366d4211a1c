package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.azure.core.amqp.AmqpRetryOptions;
import com.azure.core.amqp.AmqpTransportType;
import com.azure.core.amqp.exception.AmqpErrorCondition;
import com.azure.core.amqp.exception.AmqpException;
import com.azure.messaging.eventhubs.EventData;
import com.azure.messaging.eventhubs.EventHubClientBuilder;
import com.azure.messaging.eventhubs.EventHubConsumerAsyncClient;
import com.azure.messaging.eventhubs.EventHubConsumerClient;
import com.azure.messaging.eventhubs.EventProcessorClientBuilder;
import com.azure.messaging.eventhubs.checkpointstore.blob.BlobCheckpointStore;
import com.azure.messaging.eventhubs.models.EventContext;
import com.azure.messaging.eventhubs.models.EventPosition;
import com.azure.messaging.eventhubs.models.PartitionEvent;
import com.azure.messaging.eventhubs.models.ReceiveOptions;
import com.azure.storage.blob.BlobContainerAsyncClient;
import com.azure.storage.blob.BlobContainerClientBuilder;
import com.google.gson.JsonObject;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.Message;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import reactor.core.Disposable;

/** The Event Hubs SDK reads the built-in endpoint. */
class EventHubsTest {
    private static final Duration LIMIT = Duration.ofSeconds(Hub.LIMIT);

    /** How the SDK connects. */
    enum Way {
        PLAIN,
        TLS,
        WEBSOCKET;

        EventHubClientBuilder builder() {
            return builder(Hub.connectionString(this == PLAIN ? "events_plain" : "events"));
        }

        EventHubClientBuilder builder(String connectionString) {
            return new EventHubClientBuilder()
                .connectionString(connectionString)
                .consumerGroup(EventHubClientBuilder.DEFAULT_CONSUMER_GROUP_NAME)
                // What is refused once would be refused again.
                .retryOptions(new AmqpRetryOptions().setMaxRetries(0).setTryTimeout(LIMIT))
                .transportType(
                    this == WEBSOCKET ? AmqpTransportType.AMQP_WEB_SOCKETS : AmqpTransportType.AMQP);
        }
    }

    @ParameterizedTest
    @EnumSource(Way.class)
    void anEventArrivesWithAllItsProperties(Way way) throws Exception {
        try (TestDevice device = TestDevice.register();
                EventHubConsumerClient client = way.builder().buildConsumerClient()) {
            Message message = new Message("{\"t\":21.5}");
            message.setMessageId("m-1");
            message.setCorrelationId("c&1=2");
            message.setContentType("application/json");
            message.setContentEncoding("utf-8");
            message.setProperty("level", "high & low");
            device.open().sendEvent(message);
            JsonObject stored = Hub.events(device.id).get(0);
            String partition = stored.get("partition").getAsString();

            EventData event = only(client, partition, device);

            assertEquals("{\"t\":21.5}", event.getBodyAsString());
            assertEquals("high & low", event.getProperties().get("level"));
            assertEquals("m-1", event.getMessageId());
            assertEquals("c&1=2", event.getCorrelationId());
            assertEquals("application/json", event.getContentType());
            assertEquals(stored.get("sequenceNumber").getAsLong(), event.getSequenceNumber());
            assertEquals(stored.get("offset").getAsString(), event.getOffsetString());
            assertEquals(enqueued(stored), event.getEnqueuedTime());
            var system = event.getSystemProperties();
            assertEquals("Telemetry", system.get("iothub-message-source"));
            assertEquals(
                Hub.REGISTRY.getDevice(device.id).getGenerationId(),
                system.get("iothub-connection-auth-generation-id"));
            assertTrue(system.get("iothub-connection-auth-method").toString().contains("\"type\":\"sas\""));
        }
    }

    @ParameterizedTest
    @EnumSource(Way.class)
    void theHubAndItsPartitionsTellAboutThemselves(Way way) throws Exception {
        try (TestDevice device = TestDevice.register();
                EventHubConsumerClient client = way.builder().buildConsumerClient()) {
            JsonObject last = send(device, "1", "2").get(1);

            var properties = client.getEventHubProperties();
            var partition = client.getPartitionProperties(last.get("partition").getAsString());

            assertEquals(client.getEventHubName(), properties.getName());
            assertEquals(List.of("0", "1", "2", "3"), properties.getPartitionIds().stream().toList());
            assertEquals(client.getEventHubName(), partition.getEventHubName());
            assertEquals(last.get("partition").getAsString(), partition.getId());
            assertEquals(0, partition.getBeginningSequenceNumber());
            assertEquals(last.get("sequenceNumber").getAsLong(), partition.getLastEnqueuedSequenceNumber());
            assertEquals(last.get("offset").getAsString(), partition.getLastEnqueuedOffset());
            assertEquals(enqueued(last), partition.getLastEnqueuedTime());
            assertFalse(partition.isEmpty());
        }
    }

    @Test
    void readingBeginsAtAPosition() throws Exception {
        try (TestDevice device = TestDevice.register();
                EventHubConsumerClient client = Way.PLAIN.builder().buildConsumerClient()) {
            JsonObject second = send(device, "0", "1", "2", "3").get(1);
            long sequence = second.get("sequenceNumber").getAsLong();
            String offset = second.get("offset").getAsString();
            Instant before = enqueued(second).minusMillis(1);

            assertEquals(List.of("2", "3"), bodies(client, second, EventPosition.fromSequenceNumber(sequence), 2));
            assertEquals(
                List.of("1", "2", "3"),
                bodies(client, second, EventPosition.fromSequenceNumber(sequence, true), 3));
            assertEquals(List.of("2", "3"), bodies(client, second, EventPosition.fromOffsetString(offset), 2));
            var late = bodies(client, second, EventPosition.fromEnqueuedTime(before), 3);
            assertTrue(late.contains("1") && late.contains("2"), late::toString);
        }
    }

    @Test
    void everyPartitionIsReadAtOnce() throws Exception {
        try (TestDevice device = TestDevice.register();
                EventHubConsumerAsyncClient client = Way.TLS.builder().buildAsyncConsumerClient()) {
            send(device, "1", "2", "3");

            List<String> bodies = client.receive(true)
                .filter(event -> of(event.getData(), device))
                .map(event -> event.getData().getBodyAsString())
                .take(3)
                .collectList()
                .block(LIMIT);

            assertEquals(List.of("1", "2", "3"), bodies);
        }
    }

    @Test
    void aLargeEventArrivesWhole() throws Exception {
        try (TestDevice device = TestDevice.register();
                EventHubConsumerClient client = Way.TLS.builder().buildConsumerClient()) {
            String body = "0123456789".repeat(20_000);
            String partition = send(device, body).get(0).get("partition").getAsString();

            assertEquals(body, only(client, partition, device).getBodyAsString());
        }
    }

    @Test
    void anEventTellsHowFarItsPartitionIs() throws Exception {
        try (TestDevice device = TestDevice.register();
                EventHubConsumerAsyncClient client = Way.PLAIN.builder().buildAsyncConsumerClient()) {
            JsonObject last = send(device, "1", "2").get(1);
            ReceiveOptions options = new ReceiveOptions().setTrackLastEnqueuedEventProperties(true);

            PartitionEvent event = client
                .receiveFromPartition(last.get("partition").getAsString(), EventPosition.earliest(), options)
                .blockFirst(LIMIT);

            var properties = event.getLastEnqueuedEventProperties();
            assertEquals(last.get("sequenceNumber").getAsLong(), properties.getSequenceNumber());
            assertEquals(last.get("offset").getAsString(), properties.getOffsetString());
        }
    }

    @Test
    void aHigherOwnerLevelDisplacesALowerOne() throws Exception {
        try (TestDevice device = TestDevice.register();
                EventHubConsumerAsyncClient first = Way.PLAIN.builder().buildAsyncConsumerClient();
                EventHubConsumerAsyncClient second = Way.PLAIN.builder().buildAsyncConsumerClient()) {
            String partition = send(device, "1").get(0).get("partition").getAsString();
            BlockingQueue<PartitionEvent> events = new LinkedBlockingQueue<>();
            BlockingQueue<Throwable> errors = new LinkedBlockingQueue<>();

            Disposable displaced = first.receiveFromPartition(partition, EventPosition.earliest(), owning(1))
                .subscribe(events::add, errors::add);
            assertNotNull(events.poll(Hub.LIMIT, TimeUnit.SECONDS), "an event in time");
            second.receiveFromPartition(partition, EventPosition.earliest(), owning(2)).blockFirst(LIMIT);

            var error = (AmqpException) errors.poll(Hub.LIMIT, TimeUnit.SECONDS);
            assertNotNull(error, "displacement in time");
            assertEquals(AmqpErrorCondition.LINK_STOLEN, error.getErrorCondition());
            displaced.dispose();
        }
    }

    @Test
    void aProcessorGoesOnBehindItsCheckpoint() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            BlobContainerAsyncClient container = new BlobContainerClientBuilder()
                .connectionString(Hub.storage())
                .containerName(Hub.randomId())
                .buildAsyncClient();
            container.create().block(LIMIT);
            send(device, "a", "b", "c", "d", "e");

            List<String> before = process(container, device, 3, true);
            List<String> after = process(container, device, 2, false);

            assertEquals(List.of("a", "b", "c"), before);
            assertEquals(List.of("d", "e"), after);
        }
    }

    @Test
    void aWrongKeyIsRefused() {
        String wrong = Base64.getEncoder().encodeToString(new byte[32]);
        String connectionString =
            Hub.connectionString("events").replaceAll("SharedAccessKey=[^;]*", "SharedAccessKey=" + wrong);
        try (EventHubConsumerClient client = Way.TLS.builder(connectionString).buildConsumerClient()) {
            var error = assertThrows(AmqpException.class, client::getEventHubProperties);
            assertEquals(AmqpErrorCondition.UNAUTHORIZED_ACCESS, error.getErrorCondition());
        }
    }

    @Test
    void anUnknownPartitionIsNotFound() {
        try (EventHubConsumerClient client = Way.PLAIN.builder().buildConsumerClient()) {
            var error = assertThrows(AmqpException.class, () -> client.getPartitionProperties("99"));
            assertEquals(AmqpErrorCondition.NOT_FOUND, error.getErrorCondition());
        }
    }

    private static ReceiveOptions owning(long level) {
        return new ReceiveOptions().setOwnerLevel(level);
    }

    /** Sends messages of a device; answers them as stored. */
    private static List<JsonObject> send(TestDevice device, String... bodies) throws Exception {
        DeviceClient client = device.open();
        for (String body : bodies) {
            client.sendEvent(new Message(body));
        }
        return Hub.events(device.id);
    }

    /** When it was stored, as precise as AMQP is. */
    private static Instant enqueued(JsonObject stored) {
        return Instant.parse(stored.get("enqueuedTime").getAsString()).truncatedTo(ChronoUnit.MILLIS);
    }

    private static boolean of(EventData event, TestDevice device) {
        return device.id.equals(event.getSystemProperties().get("iothub-connection-device-id"));
    }

    /** The device's only event. */
    private static EventData only(EventHubConsumerClient client, String partition, TestDevice device) {
        long last = client.getPartitionProperties(partition).getLastEnqueuedSequenceNumber();
        int count = (int) last + 1;
        return client.receiveFromPartition(partition, count, EventPosition.earliest(), LIMIT).stream()
            .map(PartitionEvent::getData)
            .filter(event -> of(event, device))
            .findFirst()
            .orElseThrow();
    }

    /** The bodies of the next events in the partition of one. */
    private static List<String> bodies(
            EventHubConsumerClient client, JsonObject one, EventPosition position, int count) {
        String partition = one.get("partition").getAsString();
        return client.receiveFromPartition(partition, count, position, LIMIT).stream()
            .map(event -> event.getData().getBodyAsString())
            .toList();
    }

    /** Runs a processor until it has seen so many events of the device. */
    private static List<String> process(
            BlobContainerAsyncClient container, TestDevice device, int count, boolean checkpoint)
            throws Exception {
        BlockingQueue<EventContext> contexts = new LinkedBlockingQueue<>();
        var processor = new EventProcessorClientBuilder()
            .connectionString(Hub.connectionString("events_plain"))
            .consumerGroup(EventHubClientBuilder.DEFAULT_CONSUMER_GROUP_NAME)
            .checkpointStore(new BlobCheckpointStore(container))
            .initialPartitionEventPosition(partition -> EventPosition.earliest())
            .processEvent(context -> {
                if (of(context.getEventData(), device)) {
                    contexts.add(context);
                }
            })
            .processError(error -> { })
            .buildEventProcessorClient();
        processor.start();
        try {
            List<String> bodies = new ArrayList<>();
            while (bodies.size() < count) {
                EventContext context = contexts.poll(Hub.LIMIT, TimeUnit.SECONDS);
                assertNotNull(context, "an event in time");
                bodies.add(context.getEventData().getBodyAsString());
                if (checkpoint && bodies.size() == count) {
                    context.updateCheckpoint();
                }
            }
            return bodies;
        } finally {
            processor.stop();
        }
    }
}
