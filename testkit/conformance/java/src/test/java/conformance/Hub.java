package conformance;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.service.auth.IotHubConnectionStringBuilder;
import com.microsoft.azure.sdk.iot.service.auth.IotHubServiceSasToken;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodRequestOptions;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.service.methods.DirectMethodsClient;
import com.microsoft.azure.sdk.iot.service.query.QueryClient;
import com.microsoft.azure.sdk.iot.service.registry.RegistryClient;
import com.microsoft.azure.sdk.iot.service.twin.TwinClient;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.UUID;

/**
 * What the tests know about the running emulator: where it is and what it has seen.
 *
 * <p>The SDKs under test talk to the stock ports by connection string alone. Connections are dropped
 * through the emulator's control API, because no SDK can do that. Where what is tested is the other
 * side, telemetry is read there, too, and messages are sent over REST.
 */
final class Hub {
    /** Longest wait, in seconds, for anything that is bound to happen. */
    static final int LIMIT = 30;

    /**
     * The host name of device connection strings. The Java device SDK refuses a name without a dot,
     * so {@code localhost} is out; the service SDK takes it.
     */
    static final String DEVICE_HOST = "127.0.0.1";

    private static final JsonObject READY = readyFile();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    static final RegistryClient REGISTRY = new RegistryClient(connectionString("iothubowner"));
    static final TwinClient TWINS = new TwinClient(connectionString("iothubowner"));
    static final DirectMethodsClient METHODS = new DirectMethodsClient(connectionString("iothubowner"));
    static final QueryClient QUERIES = new QueryClient(connectionString("iothubowner"));

    private Hub() {}

    static String connectionString(String policy) {
        return READY.getAsJsonObject("connection_strings").get(policy).getAsString();
    }

    static String hostName() {
        return READY.get("hostname").getAsString();
    }

    /** How a storage client opens the account of devices' files. */
    static String storage() {
        return READY.getAsJsonObject("storage").get("connection_string").getAsString();
    }

    /** An identifier that no other test uses. */
    static String randomId() {
        return "java-" + UUID.randomUUID().toString().substring(0, 13);
    }

    /** Calls a method of a device; waits for it to connect and subscribe. */
    static DirectMethodResponse invoke(String deviceId, String method, Object payload) throws Exception {
        return METHODS.invoke(deviceId, method, options(payload, LIMIT, LIMIT));
    }

    static DirectMethodRequestOptions options(Object payload, int connectTimeout, int responseTimeout) {
        return DirectMethodRequestOptions.builder()
            .payload(payload)
            .methodConnectTimeoutSeconds(connectTimeout)
            .methodResponseTimeoutSeconds(responseTimeout)
            .build();
    }

    /**
     * Every telemetry event of a device and its modules, oldest first. A message is stored before its
     * PUBACK, so an acknowledged one is always here.
     */
    static List<JsonObject> events(String deviceId) throws Exception {
        return control("GET", "events?from=earliest&device=" + deviceId).lines()
            .filter(line -> !line.isEmpty())
            .map(line -> JsonParser.parseString(line).getAsJsonObject())
            .toList();
    }

    /** The bodies of {@link #events}. */
    static List<String> bodies(String deviceId) throws Exception {
        return events(deviceId).stream().map(event -> event.get("body").getAsString()).toList();
    }

    /** Cuts the device's connection, as a broken network would. */
    static void drop(String deviceId) throws Exception {
        control("DELETE", "connections/" + deviceId);
    }

    /** How many sessions a client ({@code device} or {@code device/module}) has. */
    static long connections(String client) throws Exception {
        JsonArray sessions = JsonParser.parseString(control("GET", "connections")).getAsJsonArray();
        long count = 0;
        for (JsonElement session : sessions) {
            if (session.getAsJsonObject().get("client").getAsString().equals(client)) {
                count++;
            }
        }
        return count;
    }

    /** Sends a cloud-to-device message; names and values of headers take turns. */
    static void sendC2d(String deviceId, String body, String... headers) throws Exception {
        var connectionString =
            IotHubConnectionStringBuilder.createIotHubConnectionString(connectionString("iothubowner"));
        HttpRequest.Builder request = HttpRequest.newBuilder(
                uri("devices/" + deviceId + "/messages/devicebound?api-version=2021-04-12"))
            .header("Authorization", new IotHubServiceSasToken(connectionString).toString())
            .POST(HttpRequest.BodyPublishers.ofString(body));
        if (headers.length > 0) {
            request.headers(headers);
        }
        send(request.build());
    }

    /** How many cloud-to-device messages wait for a device. */
    static long waitingC2d(String deviceId) throws Exception {
        return REGISTRY.getDevice(deviceId).getCloudToDeviceMessageCount();
    }

    /** Waits until the timeline tells for the so-many-th time that something happened to a device. */
    static void awaitNotices(String deviceId, String event, int count) throws Exception {
        control(
            "GET",
            "timeline?client=" + deviceId + "&events=" + event + "&after=0&max=" + count + "&follow=true");
    }

    /** Asks the control API for something; answers the body. */
    static String control(String verb, String path) throws Exception {
        return control(verb, path, HttpRequest.BodyPublishers.noBody());
    }

    /** As {@link #control(String, String)}, with a JSON body. */
    static String control(String verb, String path, Object body) throws Exception {
        return control(verb, path, HttpRequest.BodyPublishers.ofString(new Gson().toJson(body)));
    }

    private static String control(String verb, String path, HttpRequest.BodyPublisher body)
            throws Exception {
        return send(HttpRequest.newBuilder(uri("_emulator/" + path))
            .timeout(Duration.ofSeconds(LIMIT))
            .method(verb, body)
            .build());
    }

    private static URI uri(String path) {
        int port = READY.getAsJsonObject("ports").get("https").getAsInt();
        return URI.create("https://" + hostName() + ":" + port + "/" + path);
    }

    private static String send(HttpRequest request) throws Exception {
        HttpResponse<String> response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() >= 300) {
            throw new IOException(
                request.method() + " " + request.uri() + ": " + response.statusCode() + " " + response.body());
        }
        return response.body();
    }

    private static JsonObject readyFile() {
        try {
            Path file = Path.of(System.getenv("CONFORMANCE_READY_FILE"));
            return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
