package conformance;

import com.microsoft.azure.sdk.iot.device.ConnectionStatusChangeContext;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.InternalClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.ModuleClient;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.device.transport.IotHubConnectionStatus;
import com.microsoft.azure.sdk.iot.device.twin.Twin;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** A freshly registered device and the SDK clients that were made for it. */
final class TestDevice implements AutoCloseable {
    private static final int ANSWER_MILLISECONDS = 5_000;

    final String id;
    String key;
    final String secondaryKey;

    private final Deque<InternalClient> clients = new ArrayDeque<>();

    private TestDevice(Device identity) {
        id = identity.getDeviceId();
        key = identity.getPrimaryKey();
        secondaryKey = identity.getSecondaryKey();
    }

    static TestDevice register() throws Exception {
        return new TestDevice(Hub.REGISTRY.addDevice(new Device(Hub.randomId())));
    }

    String connectionString() {
        return "HostName=" + Hub.DEVICE_HOST + ";DeviceId=" + id + ";SharedAccessKey=" + key;
    }

    /** A client of this device, not yet open. */
    DeviceClient client(IotHubClientProtocol protocol) {
        return keep(new DeviceClient(connectionString(), protocol));
    }

    DeviceClient open(IotHubClientProtocol protocol) throws Exception {
        DeviceClient client = client(protocol);
        client.open(false);
        return client;
    }

    DeviceClient open() throws Exception {
        return open(IotHubClientProtocol.MQTT);
    }

    /** Registers a module of this device and opens a client for it. */
    ModuleClient openModule(String moduleId, IotHubClientProtocol protocol) throws Exception {
        Module module = Hub.REGISTRY.addModule(new Module(id, moduleId));
        String connectionString = "HostName=" + Hub.DEVICE_HOST + ";DeviceId=" + id + ";ModuleId=" + moduleId
            + ";SharedAccessKey=" + module.getPrimaryKey();
        ModuleClient client = keep(new ModuleClient(connectionString, protocol));
        client.open(false);
        return client;
    }

    /** Has the client closed with this device. */
    <C extends InternalClient> C keep(C client) {
        clients.push(client);
        return client;
    }

    @Override
    public void close() {
        clients.forEach(InternalClient::close);
    }

    /** Receives every change of a client's connection. */
    static BlockingQueue<ConnectionStatusChangeContext> states(InternalClient client) {
        BlockingQueue<ConnectionStatusChangeContext> states = new LinkedBlockingQueue<>();
        client.setConnectionStatusChangeCallback(states::add, null);
        return states;
    }

    /** Takes changes off the queue until one leads to the expected status. */
    static ConnectionStatusChangeContext await(
            BlockingQueue<ConnectionStatusChangeContext> states, IotHubConnectionStatus expected)
            throws InterruptedException {
        while (true) {
            ConnectionStatusChangeContext change = states.poll(Hub.LIMIT, TimeUnit.SECONDS);
            if (change == null) {
                throw new AssertionError("no " + expected + " in " + Hub.LIMIT + " s");
            }
            if (change.getNewStatus() == expected) {
                return change;
            }
        }
    }

    /**
     * The twin, as the device is told. On a busy machine the SDK loses answers, over any protocol: the
     * thread that acknowledges one may forget who waits for it before the thread that received it has
     * looked. Thus it asks again.
     */
    static Twin twin(InternalClient client) throws Exception {
        for (int attempt = 0; attempt < 5; attempt++) {
            try {
                return client.getTwin(ANSWER_MILLISECONDS);
            } catch (IotHubClientException error) {
                rethrowUnlessLost(error);
            }
        }
        return client.getTwin(ANSWER_MILLISECONDS);
    }

    /** Updates reported properties. The answer may be lost, as with {@link #twin}. */
    static void report(InternalClient client, TwinCollection reported) throws Exception {
        try {
            client.updateReportedProperties(reported, ANSWER_MILLISECONDS);
        } catch (IotHubClientException error) {
            rethrowUnlessLost(error);
        }
    }

    private static void rethrowUnlessLost(IotHubClientException error) throws IotHubClientException {
        if (error.getStatusCode() != IotHubStatusCode.DEVICE_OPERATION_TIMED_OUT) {
            throw error;
        }
    }
}
