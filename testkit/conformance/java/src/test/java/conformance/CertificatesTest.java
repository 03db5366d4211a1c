package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.ClientOptions;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.IotHubClientProtocol;
import com.microsoft.azure.sdk.iot.device.IotHubStatusCode;
import com.microsoft.azure.sdk.iot.device.Message;
import com.microsoft.azure.sdk.iot.device.exceptions.IotHubClientException;
import com.microsoft.azure.sdk.iot.service.auth.AuthenticationType;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Devices that prove themselves by certificates: self-signed, or from an authority. */
class CertificatesTest {
    private static final char[] PASSWORD = "changeit".toCharArray();

    @TempDir
    Path folder;

    /** A certificate and its key, as files in PEM form. */
    private record Certificate(Path certificate, Path key) {}

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aCertificateIsKnownByItsThumbprint(IotHubClientProtocol protocol) throws Exception {
        Device identity = new Device(Hub.randomId(), AuthenticationType.SELF_SIGNED);
        Certificate known = selfSigned(identity.getDeviceId());
        identity.setThumbprint(thumbprint(known), thumbprint(known));
        Hub.REGISTRY.addDevice(identity);

        assertUnauthorized(identity.getDeviceId(), selfSigned(identity.getDeviceId()), protocol);
        send(identity.getDeviceId(), known, protocol, "signed");

        assertEquals(List.of("signed"), Hub.bodies(identity.getDeviceId()));
    }

    @ParameterizedTest
    @EnumSource(value = IotHubClientProtocol.class, names = {"MQTT", "AMQPS"})
    void aProvedAuthorityVouchesForItsDevices(IotHubClientProtocol protocol) throws Exception {
        String id = Hub.randomId();
        Hub.REGISTRY.addDevice(new Device(id, AuthenticationType.CERTIFICATE_AUTHORITY));
        String name = Hub.randomId();
        Certificate authority = selfSigned(name);
        Certificate signed = sign(authority, id);

        assertUnauthorized(id, signed, protocol);
        Map<String, String> certificate = Map.of("certificate", Files.readString(authority.certificate));
        Hub.control("PUT", "certificates/" + name, Map.of("properties", certificate));
        assertUnauthorized(id, signed, protocol);
        String path = "certificates/" + name + "/";
        JsonObject resource = JsonParser.parseString(Hub.control("POST", path + "generateVerificationCode"))
            .getAsJsonObject();
        String code = resource.getAsJsonObject("properties").get("verificationCode").getAsString();
        String proof = Files.readString(sign(authority, code).certificate);
        Hub.control("POST", path + "verify", Map.of("certificate", proof));
        assertUnauthorized(id, sign(authority, Hub.randomId()), protocol);
        send(id, signed, protocol, "vouched for");

        assertEquals(List.of("vouched for"), Hub.bodies(id));
    }

    private Certificate selfSigned(String name) throws Exception {
        Certificate files = files();
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=" + name,
            "-keyout", files.key, "-out", files.certificate);
        return files;
    }

    /** A certificate of X.509 version 1, which is what openssl makes unless told otherwise. */
    private Certificate sign(Certificate authority, String name) throws Exception {
        Certificate files = files();
        Path request = files.key.resolveSibling(files.key.getFileName() + ".csr");
        openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-keyout", files.key, "-out",
            request);
        openssl(
            "x509", "-req", "-in", request, "-CA", authority.certificate, "-CAkey", authority.key,
            "-CAcreateserial", "-days", "2", "-out", files.certificate);
        return files;
    }

    private Certificate files() {
        String stem = Hub.randomId();
        return new Certificate(folder.resolve(stem + ".pem"), folder.resolve(stem + ".key"));
    }

    private static void openssl(Object... arguments) throws Exception {
        List<String> command = new ArrayList<>(List.of("openssl"));
        for (Object argument : arguments) {
            command.add(argument.toString());
        }
        Process process = new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
        assertEquals(0, process.waitFor(), () -> String.join(" ", command));
    }

    private static String thumbprint(Certificate certificate) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        byte[] pem = Files.readAllBytes(certificate.certificate);
        byte[] der = factory.generateCertificate(new ByteArrayInputStream(pem)).getEncoded();
        return HexFormat.of().withUpperCase().formatHex(MessageDigest.getInstance("SHA-1").digest(der));
    }

    private DeviceClient client(String id, Certificate certificate, IotHubClientProtocol protocol)
            throws Exception {
        Path store = folder.resolve(Hub.randomId() + ".p12");
        openssl(
            "pkcs12", "-export", "-in", certificate.certificate, "-inkey", certificate.key, "-passout",
            "pass:" + new String(PASSWORD), "-out", store);
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (InputStream stream = Files.newInputStream(store)) {
            keys.load(stream, PASSWORD);
        }
        KeyManagerFactory managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        managers.init(keys, PASSWORD);
        SSLContext context = SSLContext.getInstance("TLS");
        // The trust store is that of the system properties.
        context.init(managers.getKeyManagers(), null, null);
        String connectionString = "HostName=" + Hub.DEVICE_HOST + ";DeviceId=" + id + ";x509=true";
        ClientOptions options = ClientOptions.builder().sslContext(context).build();
        // The SDK has certificates over TCP only, not over WebSocket.
        return new DeviceClient(connectionString, protocol, options);
    }

    private void send(String id, Certificate certificate, IotHubClientProtocol protocol, String body)
            throws Exception {
        DeviceClient client = client(id, certificate, protocol);
        try {
            client.open(false);
            client.sendEvent(new Message(body));
        } finally {
            client.close();
        }
    }

    private void assertUnauthorized(String id, Certificate certificate, IotHubClientProtocol protocol)
            throws Exception {
        DeviceClient client = client(id, certificate, protocol);
        try {
            IotHubClientException refused =
                assertThrows(IotHubClientException.class, () -> client.open(false));
            assertEquals(IotHubStatusCode.UNAUTHORIZED, refused.getStatusCode());
        } finally {
            client.close();
        }
    }
}
