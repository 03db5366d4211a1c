"""Who may connect, and which of the SDK's own exceptions the others see."""

import base64
import hashlib
import ssl
import subprocess
import time

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, X509
from azure.iot.device.exceptions import CredentialError

from hub import EXPIRED, LIMIT, random_id, sas_token

TRANSPORTS = [
    pytest.param({}, id="mqtt"),
    pytest.param({"websockets": True}, id="websocket"),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_wrong_key_is_refused(device, transport):
    device.key = base64.b64encode(b"x" * 32).decode()

    with pytest.raises(CredentialError):
        device.connect(**transport)


def test_the_secondary_key_is_as_good_as_the_primary(registry, device):
    device.key = registry.get_device(device.id).authentication.symmetric_key.secondary_key

    assert device.connect().connected


def test_an_expired_token_is_refused(hub, device, monkeypatch):
    resource = f"{hub.hostname}/devices/{device.id}"
    expired = sas_token(resource, device.key, ttl=EXPIRED)

    # The SDK compares the expiry with its own clock first, so the device's clock is 2 h slow.
    now = time.time
    with monkeypatch.context() as slow_clock:
        slow_clock.setattr(time, "time", lambda: now() - 7200)
        client = device.keep(IoTHubDeviceClient.create_from_sastoken(expired))

    with pytest.raises(CredentialError):
        client.connect()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_token_is_renewed(hub, device, transport):
    resource = f"{hub.hostname}/devices/{device.id}"
    first, second = (sas_token(resource, device.key, ttl=ttl) for ttl in (1800, 3600))
    client = device.keep(IoTHubDeviceClient.create_from_sastoken(first, **transport))
    client.connect()
    client.send_message("before")

    client.update_sastoken(second)

    client.send_message("after")
    assert [event["body"] for event in hub.events(device.id)] == ["before", "after"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_key_alone_is_enough(hub, device, transport):
    client = device.keep(
        IoTHubDeviceClient.create_from_symmetric_key(
            device.key, hub.hostname, device.id, **transport
        )
    )

    client.connect()

    assert client.connected


def test_a_disabled_device_is_refused_until_it_is_enabled(registry, device):
    def set_status(status):
        keys = registry.get_device(device.id).authentication.symmetric_key
        registry.update_device_with_sas(
            device.id, None, keys.primary_key, keys.secondary_key, status
        )

    set_status("disabled")
    with pytest.raises(CredentialError):
        device.connect()

    set_status("enabled")
    assert device.connect().connected


def test_an_unknown_device_is_refused(device):
    device.id = random_id("py")

    with pytest.raises(CredentialError):
        device.connect()


def test_a_key_opens_no_other_device(registry, device):
    other = registry.create_device_with_sas(random_id("py"), None, None, "enabled")
    device.id = other.device_id

    with pytest.raises(CredentialError):
        device.connect()


@pytest.mark.parametrize(
    ("policy", "accepted"), [("device", True), ("iothubowner", True), ("service", False)]
)
def test_a_policy_key_signs_for_a_device_if_it_may_connect_devices(hub, device, policy, accepted):
    resource = f"{hub.hostname}/devices/{device.id}"
    token = sas_token(resource, hub.policy_key(policy), policy)
    client = device.keep(IoTHubDeviceClient.create_from_sastoken(token))

    if accepted:
        client.connect()
        assert client.connected
    else:
        with pytest.raises(CredentialError):
            client.connect()


class Certificate:
    """A self-signed client certificate made with openssl."""

    def __init__(self, folder, name):
        self.cert = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert]
        subprocess.run(command, check=True, capture_output=True)

    def thumbprint(self, algorithm):
        der = ssl.PEM_cert_to_DER_cert(self.cert.read_text())
        return hashlib.new(algorithm, der).hexdigest().upper()

    def client(self, hub, device_id, **options):
        x509 = X509(str(self.cert), str(self.key))
        return IoTHubDeviceClient.create_from_x509_certificate(
            x509, hub.hostname, device_id, **options
        )


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_certificate_is_known_by_its_thumbprint(hub, registry, tmp_path, algorithm, transport):
    device_id = random_id("py")
    certificate = Certificate(tmp_path, device_id)
    thumbprint = certificate.thumbprint(algorithm)
    identity = registry.create_device_with_x509(device_id, thumbprint, None, "enabled")
    assert identity.authentication.type == "selfSigned"

    client = certificate.client(hub, device_id, **transport)
    try:
        client.connect()
        client.send_message("signed")
    finally:
        client.shutdown()

    (event,) = hub.events(device_id)
    assert event["body"] == "signed"
    assert "x509" in event["annotations"]["iothub-connection-auth-method"].lower()


def test_another_certificate_is_refused(hub, registry, tmp_path):
    device_id = random_id("py")
    known = Certificate(tmp_path, "known").thumbprint("sha1")
    registry.create_device_with_x509(device_id, known, known, "enabled")

    stranger = Certificate(tmp_path, "stranger").client(hub, device_id)
    try:
        with pytest.raises(CredentialError):
            stranger.connect()
    finally:
        stranger.shutdown()


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    """A certificate authority made with openssl, as the guides to the real hub make one."""

    def __init__(self, hub, folder, key="rsa:2048"):
        self.name = random_id("py")
        self.url = f"{hub.control}/certificates/{self.name}"
        self.folder = folder
        self.cert = folder / f"{self.name}.pem"
        self.key = folder / f"{self.name}.key"
        command = ["req", "-x509", "-newkey", key, "-nodes", "-days", "2"]
        if key == "ec":
            command += ["-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl(*command, "-subj", f"/CN={self.name}", "-keyout", self.key, "-out", self.cert)

    def sign(self, name, *options):
        """A certificate for `name`, of X.509 version 1 unless `options` say more, and its key."""
        stem = self.folder / random_id("leaf")
        request, key, cert = (stem.with_suffix(end) for end in (".csr", ".key", ".pem"))
        subject = "/CN=" + name.replace("/", "\\/")
        request_options = ["-newkey", "rsa:2048", "-nodes", "-subj", subject]
        openssl("req", *request_options, "-keyout", key, "-out", request)
        signer = ["-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "2"]
        openssl("x509", "-req", "-in", request, *signer, *options, "-out", cert)
        return cert, key

    def intermediate(self):
        """An authority that this one vouches for."""
        extensions = self.folder / "ca.ext"
        extensions.write_text("basicConstraints=critical,CA:TRUE")
        authority = object.__new__(Authority)
        authority.folder = self.folder
        authority.cert, authority.key = self.sign(
            random_id("intermediate"), "-extfile", str(extensions)
        )
        return authority

    def register(self):
        properties = {"certificate": self.cert.read_text()}
        response = requests.put(self.url, json={"properties": properties}, timeout=LIMIT)
        response.raise_for_status()
        assert response.json()["properties"]["subject"] == f"CN={self.name}"

    def prove_possession(self):
        response = requests.post(f"{self.url}/generateVerificationCode", timeout=LIMIT)
        response.raise_for_status()
        resource = response.json()
        proof, _ = self.sign(resource["properties"]["verificationCode"])
        response = requests.post(
            f"{self.url}/verify",
            json={"certificate": proof.read_text()},
            headers={"If-Match": resource["etag"]},
            timeout=LIMIT,
        )
        response.raise_for_status()
        assert response.json()["properties"]["isVerified"] is True


@pytest.fixture
def signed_device(hub, registry):
    """Connects clients of one device that certificate authorities vouch for."""
    device_id = random_id("py")
    identity = registry.create_device_with_certificate_authority(device_id, "enabled")
    assert identity.authentication.type == "certificateAuthority"
    clients = []

    def connect(cert, key, **options):
        x509 = X509(str(cert), str(key))
        client = IoTHubDeviceClient.create_from_x509_certificate(
            x509, hub.hostname, device_id, **options
        )
        clients.append(client)
        client.connect()
        return client

    connect.device_id = device_id
    yield connect
    for client in clients:
        client.shutdown()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("key", ["rsa:2048", "ec"])
def test_an_authority_vouches_once_possession_of_its_key_is_proved(
    hub, signed_device, tmp_path, key, transport
):
    authority = Authority(hub, tmp_path, key)
    cert, key = authority.sign(signed_device.device_id)
    with pytest.raises(CredentialError):
        signed_device(cert, key, **transport)
    authority.register()
    with pytest.raises(CredentialError):
        signed_device(cert, key, **transport)
    authority.prove_possession()

    signed_device(cert, key, **transport).send_message("vouched for")

    (event,) = hub.events(signed_device.device_id)
    assert event["body"] == "vouched for"
    assert "x509" in event["annotations"]["iothub-connection-auth-method"].lower()


def test_a_presented_intermediate_authority_leads_to_the_registered_one(
    hub, signed_device, tmp_path
):
    authority = Authority(hub, tmp_path)
    authority.register()
    authority.prove_possession()
    intermediate = authority.intermediate()
    cert, key = intermediate.sign(signed_device.device_id)
    with pytest.raises(CredentialError):
        signed_device(cert, key)

    chain = tmp_path / "chain.pem"
    chain.write_text(cert.read_text() + intermediate.cert.read_text())

    assert signed_device(chain, key).connected


def test_a_certificate_in_anothers_name_is_refused(hub, signed_device, tmp_path):
    authority = Authority(hub, tmp_path)
    authority.register()
    authority.prove_possession()

    for name in [random_id("py"), signed_device.device_id.upper()]:
        with pytest.raises(CredentialError):
            signed_device(*authority.sign(name))


def test_a_module_shows_a_certificate_with_both_its_names(hub, registry, tmp_path):
    device_id = random_id("py")
    registry.create_device_with_certificate_authority(device_id, "enabled")
    registry.create_module_with_certificate_authority(device_id, "m1", "")
    authority = Authority(hub, tmp_path)
    authority.register()
    authority.prove_possession()
    cert, key = authority.sign(f"{device_id}/m1")
    client = IoTHubModuleClient.create_from_x509_certificate(
        X509(str(cert), str(key)), hub.hostname, device_id, "m1"
    )

    try:
        client.connect()
        assert client.connected
    finally:
        client.shutdown()
