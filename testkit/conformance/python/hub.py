"""What the tests know about the running emulator: where it is and what it has seen.

The SDKs under test talk to the stock ports by connection string alone. Connections are dropped and
the clock is moved through the emulator's control API, because no SDK can do either. Where what is
tested is the other side, telemetry is read there, too, and messages are sent over REST.
"""

import base64
import hashlib
import hmac
import json
import os
import queue
import time
import urllib.parse
import uuid
from pathlib import Path

import requests
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.hub import IoTHubRegistryManager

# Longest wait, in seconds, for anything that is bound to happen.
LIMIT = 30

# How many partitions the built-in endpoint has.
PARTITIONS = 4

# Time to live of a token that is beyond every tolerance of clock differences.
EXPIRED = -3600


def random_id(prefix):
    """An identifier that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


class Hub:
    """The emulator named by the ready file."""

    def __init__(self, ready_file):
        ready = json.loads(Path(ready_file).read_text(encoding="utf-8"))
        self.hostname = ready["hostname"]
        self.connection_strings = ready["connection_strings"]
        self.ports = ready["ports"]
        self.ca_file = ready["ca_file"]
        port = self.ports["https"]
        authority = self.hostname if port == 443 else f"{self.hostname}:{port}"
        self.base = f"https://{authority}"
        self.control = f"{self.base}/_emulator"
        self.storage = ready["storage"]["connection_string"]

    @classmethod
    def from_environment(cls):
        return cls(os.environ["CONFORMANCE_READY_FILE"])

    def registry(self, policy="iothubowner"):
        """The service SDK's client, authorized by a shared access policy."""
        return IoTHubRegistryManager.from_connection_string(self.connection_strings[policy])

    def policy_key(self, policy):
        fields = (field.split("=", 1) for field in self.connection_strings[policy].split(";"))
        return dict(fields)["SharedAccessKey"]

    def rest(self, method, path, headers=None, data=b""):
        """A request of a back end, for what the service SDK does only over AMQP."""
        token = sas_token(self.hostname, self.policy_key("iothubowner"), "iothubowner")
        response = requests.request(
            method,
            f"{self.base}{path}",
            params={"api-version": "2021-04-12"},
            headers={"Authorization": token, **(headers or {})},
            data=data,
            timeout=LIMIT,
        )
        response.raise_for_status()
        return response

    def send_c2d(self, client, body, properties=None, **system):
        """Sends a message to `device` or `device/module`; `system` as in `messageid="m1"`."""
        headers = {f"iothub-{name}": value for name, value in system.items()}
        headers |= {f"iothub-app-{name}": value for name, value in (properties or {}).items()}
        path = "/modules/".join(client.split("/"))
        self.rest("POST", f"/devices/{path}/messages/devicebound", headers, body)

    def send_events(self, device, *bodies):
        """A device's messages, as one request: all have the same time, and follow each other."""
        resource = f"{self.hostname}/devices/{device.id}"
        encoded = [base64.b64encode(body.encode()).decode() for body in bodies]
        response = requests.post(
            f"{self.base}/devices/{device.id}/messages/events",
            params={"api-version": "2021-04-12"},
            headers={
                "Authorization": sas_token(resource, device.key),
                "Content-Type": "application/vnd.microsoft.iothub.json",
            },
            json=[{"body": body, "base64Encoded": True} for body in encoded],
            timeout=LIMIT,
        )
        response.raise_for_status()

    def consumer_group(self, name):
        """Makes a consumer group of the built-in endpoint; answers its name."""
        response = requests.put(f"{self.control}/consumer-groups/{name}", timeout=LIMIT)
        response.raise_for_status()
        return name

    def advance_clock(self, seconds):
        """Moves the emulator's time."""
        response = requests.post(
            f"{self.control}/clock/advance", json={"seconds": seconds}, timeout=LIMIT
        )
        response.raise_for_status()

    def feedback_about(self, device_id):
        """Waits for the first feedback about a device; answers (message id, status) pairs."""
        deadline = time.monotonic() + LIMIT
        found = []
        while not found and time.monotonic() < deadline:
            response = self.rest("GET", "/messages/serviceBound/feedback")
            if response.status_code == 204:
                time.sleep(0.5)
                continue
            lock = response.headers["ETag"].strip('"')
            self.rest("DELETE", f"/messages/serviceBound/feedback/{lock}")
            found = [
                (record["originalMessageId"], record["statusCode"])
                for record in response.json()
                if record["deviceId"] == device_id
            ]
        return found

    def wait_for_notices(self, device_id, event, count):
        """Waits until the timeline tells for the so-many-th time of this about a device."""
        wanted = {"client": device_id, "events": event, "after": 0, "max": count, "follow": "true"}
        response = requests.get(f"{self.control}/timeline", params=wanted, timeout=LIMIT)
        response.raise_for_status()

    def events(self, device_id):
        """Every telemetry event of a device and its modules, oldest first.

        A message is stored before its PUBACK, so an acknowledged one is always here.
        """
        response = requests.get(
            f"{self.control}/events",
            params={"from": "earliest", "device": device_id},
            timeout=LIMIT,
        )
        response.raise_for_status()
        return [json.loads(line) for line in response.text.splitlines() if line]

    def event_positions(self):
        """The last sequence number in each partition: readers from there see what comes now."""
        response = requests.get(
            f"{self.control}/events", params={"from": "earliest"}, timeout=LIMIT
        )
        response.raise_for_status()
        positions = {str(partition): -1 for partition in range(PARTITIONS)}
        for event in map(json.loads, filter(None, response.text.splitlines())):
            positions[str(event["partition"])] = event["sequenceNumber"]
        return positions

    def drop(self, device_id):
        """Cuts the device's connection, as a broken network would."""
        response = requests.delete(f"{self.control}/connections/{device_id}", timeout=LIMIT)
        response.raise_for_status()

    def connections(self, client):
        """The sessions open for a client, `device` or `device/module`."""
        response = requests.get(f"{self.control}/connections", timeout=LIMIT)
        response.raise_for_status()
        return [session for session in response.json() if session["client"] == client]


class Device:
    """A registered device and the SDK clients that were made for it."""

    def __init__(self, hub, registry, device_id, key):
        self.hub = hub
        self.registry = registry
        self.id = device_id
        self.key = key
        self._clients = []

    @property
    def connection_string(self):
        return f"HostName={self.hub.hostname};DeviceId={self.id};SharedAccessKey={self.key}"

    def client(self, **options):
        """A client of this device, not yet connected; `options` are the SDK's own."""
        return self.keep(
            IoTHubDeviceClient.create_from_connection_string(self.connection_string, **options)
        )

    def connect(self, **options):
        client = self.client(**options)
        client.connect()
        return client

    def module(self, module_id, **options):
        """Registers a module of this device and connects a client for it."""
        module = self.registry.create_module_with_sas(self.id, module_id, "", None, None)
        client = IoTHubModuleClient.create_from_connection_string(
            f"HostName={self.hub.hostname};DeviceId={self.id};ModuleId={module_id};"
            f"SharedAccessKey={module.authentication.symmetric_key.primary_key}",
            **options,
        )
        self.keep(client).connect()
        return client

    def keep(self, client):
        """Has the client shut down when the test ends."""
        self._clients.append(client)
        return client

    def close(self):
        for client in self._clients:
            client.shutdown()


def connection_states(client):
    """A queue that receives `client.connected` at each change of the connection."""
    states = queue.Queue()
    client.on_connection_state_change = lambda: states.put(client.connected)
    return states


def wait_for_state(states, expected):
    """Takes states off the queue until the expected one comes."""
    deadline = time.monotonic() + LIMIT
    while states.get(timeout=max(deadline - time.monotonic(), 0.01)) is not expected:
        pass


def sas_token(resource, key, policy=None, ttl=3600):
    """A shared access signature as the developer guide defines it."""
    encoded = urllib.parse.quote(resource, safe="")
    expiry = int(time.time()) + ttl
    digest = hmac.new(base64.b64decode(key), f"{encoded}\n{expiry}".encode(), hashlib.sha256)
    signature = urllib.parse.quote(base64.b64encode(digest.digest()), safe="")
    token = f"SharedAccessSignature sr={encoded}&sig={signature}&se={expiry}"
    return f"{token}&skn={policy}" if policy else token


def service_error(caught):
    """Status code and the hub's numeric error code (`None` if it gave only a name)."""
    response = caught.value.response
    message = response.json()["Message"]
    try:
        return response.status_code, json.loads(message)["errorCode"]
    except (ValueError, TypeError):
        return response.status_code, None
