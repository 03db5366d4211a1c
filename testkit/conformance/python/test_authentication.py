"""Who may connect, and which of the SDK's own exceptions the others see."""

import base64
import hashlib
import ssl
import subprocess
import time

import pytest
from azure.iot.device import IoTHubDeviceClient, X509
from azure.iot.device.exceptions import CredentialError

from hub import EXPIRED, random_id, sas_token

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
