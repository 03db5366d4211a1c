"""Cloud-to-device messages."""

import queue

import pytest

from hub import LIMIT, connection_states, wait_for_state

TRANSPORTS = [
    pytest.param({}, id="mqtt"),
    pytest.param({"websockets": True}, id="websocket"),
]


def receiver(client):
    """A queue of what the client receives."""
    messages = queue.Queue()
    client.on_message_received = messages.put
    return messages


def wait_until_settled(hub, registry, device_id, messages=1):
    """Waits until as many messages have left the device's queue as were sent to it."""
    hub.wait_for_notices(device_id, "c2dEnded", messages)
    assert registry.get_device(device_id).cloud_to_device_message_count == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_message_arrives_with_its_properties(hub, registry, device, transport):
    client = device.connect(**transport)
    messages = receiver(client)

    hub.send_c2d(
        device.id,
        '{"t":21.5}',
        {"level": "high & low/=", "empty": ""},
        messageid="m-1",
        correlationid="c&1=2",
        userid="operator",
        contenttype="application/json",
        contentencoding="utf-8",
        ack="full",
    )

    message = messages.get(timeout=LIMIT)
    assert message.data == b'{"t":21.5}'
    assert message.custom_properties == {"level": "high & low/=", "empty": ""}
    assert message.message_id == "m-1"
    assert message.correlation_id == "c&1=2"
    assert message.user_id == "operator"
    assert message.content_type == "application/json"
    assert message.content_encoding == "utf-8"
    assert message.ack == "full"
    wait_until_settled(hub, registry, device.id)
    assert hub.feedback_about(device.id) == [("m-1", "Success")]


def test_messages_sent_before_the_device_came_wait_for_it(hub, registry, device):
    for number in range(5):
        hub.send_c2d(device.id, str(number))
    assert registry.get_device(device.id).cloud_to_device_message_count == 5

    messages = receiver(device.connect())

    received = [messages.get(timeout=LIMIT).data for _ in range(5)]
    assert received == [str(number).encode() for number in range(5)]
    wait_until_settled(hub, registry, device.id, 5)


def test_messages_sent_between_two_connections_are_delivered_once(hub, registry, device):
    client = device.connect()
    messages = receiver(client)
    hub.send_c2d(device.id, "before")
    assert messages.get(timeout=LIMIT).data == b"before"
    client.disconnect()
    hub.send_c2d(device.id, "while away")

    client.connect()

    assert messages.get(timeout=LIMIT).data == b"while away"
    wait_until_settled(hub, registry, device.id, 2)
    assert messages.empty()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_dropped_connection_loses_no_message(hub, registry, device, transport):
    client = device.client(**transport)
    states = connection_states(client)
    messages = receiver(client)
    client.connect()
    wait_for_state(states, True)

    hub.drop(device.id)
    hub.send_c2d(device.id, "meanwhile")

    assert messages.get(timeout=LIMIT).data == b"meanwhile"
    wait_until_settled(hub, registry, device.id)


def test_binary_bodies_are_kept_as_they_are(hub, device):
    messages = receiver(device.connect())

    hub.send_c2d(device.id, b"\x00\xff\xfe")
    hub.send_c2d(device.id, b"")

    assert messages.get(timeout=LIMIT).data == b"\x00\xff\xfe"
    assert messages.get(timeout=LIMIT).data == b""


def test_a_purge_says_how_many_messages_there_were(hub, registry, device):
    hub.send_c2d(device.id, "1")
    hub.send_c2d(device.id, "2")

    messages = registry.protocol.cloud_to_device_messages
    purged = messages.purge_cloud_to_device_message_queue(device.id)

    assert (purged.total_messages_purged, purged.device_id) == (2, device.id)
    assert registry.get_device(device.id).cloud_to_device_message_count == 0
