"""Readers of the built-in endpoint: the Event Hubs SDK, by every way that it has to connect."""

import contextlib
import datetime
import queue
import re
import socket
import threading
import time

import pytest
from azure.eventhub import TransportType

from hub import LIMIT

GROUP = "$Default"


def plain(hub):
    return hub.connection_strings["events_plain"], {}


def plain_with_port(hub):
    return at_port(hub, hub.ports["amqp"])


def at_port(hub, port):
    endpoint = f"Endpoint=sb://{hub.hostname}:{port};"
    return re.sub("Endpoint=[^;]*;", endpoint, hub.connection_strings["events_plain"]), {}


def plain_websocket(hub):
    # The SDK knows no port but 80 for this, unless an endpoint of one's own names another.
    address = f"sb://{hub.hostname}:{hub.ports['http']}"
    websocket = {"transport_type": TransportType.AmqpOverWebsocket}
    return hub.connection_strings["events_plain"], {**websocket, "custom_endpoint_address": address}


def tls(hub):
    return hub.connection_strings["events"], {"connection_verify": hub.ca_file}


def tls_by_address(hub):
    connection_string, options = tls(hub)
    address = f"sb://{hub.hostname}:{hub.ports['amqps']}"
    transport = {"transport_type": TransportType.Amqp, "custom_endpoint_address": address}
    return connection_string, {**options, **transport}


def websocket(hub):
    connection_string, options = tls(hub)
    return connection_string, {**options, "transport_type": TransportType.AmqpOverWebsocket}


def uamqp(hub):
    connection_string, options = tls(hub)
    return connection_string, {**options, "uamqp_transport": True}


def uamqp_websocket(hub):
    connection_string, options = websocket(hub)
    return connection_string, {**options, "uamqp_transport": True}


WAYS = [
    pytest.param(way, id=way.__name__)
    for way in [
        plain,
        plain_with_port,
        plain_websocket,
        tls,
        tls_by_address,
        websocket,
        uamqp,
        uamqp_websocket,
    ]
]


def reader(client_class, hub, way=plain, group=GROUP, **options):
    """A consumer client of the SDK, synchronous or not."""
    connection_string, needed = way(hub)
    return client_class.from_connection_string(connection_string, group, **{**needed, **options})


class Reading:
    """Has a client receive in a thread of its own, for as long as the `with` lasts."""

    def __init__(self, client, batch=False, **options):
        self.client = client
        # Pairs of the partition's context and the event, or the list of events.
        self.received = queue.Queue()
        # Pairs of the partition's context, which can be `None`, and the error.
        self.errors = queue.Queue()
        self.began = queue.Queue()
        self.ended = queue.Queue()
        receive = client.receive_batch if batch else client.receive
        self._thread = threading.Thread(
            target=receive,
            args=[self._take],
            kwargs={
                "on_error": lambda *error: self.errors.put(error),
                "on_partition_initialize": lambda context: self.began.put(context.partition_id),
                "on_partition_close": lambda context, why: self.ended.put(context.partition_id),
                **options,
            },
            daemon=True,
        )

    def _take(self, context, event):
        if event:
            self.received.put((context, event))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.client.close()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "receiving did not end"

    def of(self, device_id, count):
        """The next events of a device, in pairs with their contexts; others are dropped."""
        deadline = time.monotonic() + LIMIT
        found = []
        while len(found) < count:
            context, event = self.received.get(timeout=max(deadline - time.monotonic(), 0.01))
            if device_of(event) == device_id:
                found.append((context, event))
        return found

    def bodies_of(self, device_id, count):
        return [event.body_as_str() for _, event in self.of(device_id, count)]

    def error(self):
        """The next error."""
        _, error = self.errors.get(timeout=LIMIT)
        return error


def enqueued(stored):
    """When an event of the control API was stored, in the milliseconds that AMQP has."""
    time = datetime.datetime.fromisoformat(stored["enqueuedTime"])
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def device_of(event):
    return event.system_properties[b"iothub-connection-device-id"].decode()


class Relay:
    """A stretch of network before the emulator that can be cut."""

    def __init__(self, port):
        self._target = ("localhost", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sockets = []

    def way(self, hub):
        return at_port(hub, self._listener.getsockname()[1])

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()
        self.cut()

    def cut(self):
        """Ends every connection there is; others can be made."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for end in sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                with self._lock:
                    self._sockets += [near, far]
                for ends in [(near, far), (far, near)]:
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    @staticmethod
    def _copy(source, target):
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
