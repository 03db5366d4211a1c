"""Cloud-to-device messages that the service SDK sends."""

import queue

import pytest
from azure.iot.hub import IoTHubRegistryManager
from uamqp import TransportType

from hub import LIMIT, random_id

TRANSPORTS = [
    pytest.param(TransportType.Amqp, id="amqp"),
    pytest.param(TransportType.AmqpOverWebsocket, id="websocket"),
]

QUEUE_LIMIT = 50


@pytest.fixture
def sender(hub):
    """The service SDK's client, whose AMQP connection is over with the test."""
    clients = []

    def connect(transport=TransportType.Amqp, policy="iothubowner"):
        connection_string = hub.connection_strings[policy]
        clients.append(IoTHubRegistryManager.from_connection_string(connection_string, transport))
        return clients[-1]

    yield connect
    for client in clients:
        client.amqp_svc_client.disconnect_sync()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_message_arrives_with_its_properties(hub, sender, device, transport):
    messages = queue.Queue()
    device.connect().on_message_received = messages.put

    properties = {
        "messageId": "m-1",
        "correlationId": "c&1=2",
        "contentType": "application/json",
        "contentEncoding": "utf-8",
        "iothub-ack": "full",
        "level": "high & low/=",
        "empty": "",
    }
    sender(transport).send_c2d_message(device.id, '{"t":21.5}', properties)

    message = messages.get(timeout=LIMIT)
    assert message.data == b'{"t":21.5}'
    assert message.message_id == "m-1"
    assert message.correlation_id == "c&1=2"
    assert message.content_type == "application/json"
    assert message.content_encoding == "utf-8"
    assert message.ack == "full"
    assert message.custom_properties == {"level": "high & low/=", "empty": ""}
    assert hub.feedback_about(device.id) == [("m-1", "Success")]


def test_messages_without_properties_arrive_in_order(hub, registry, sender, device):
    client = sender()
    for number in range(5):
        client.send_c2d_message(device.id, str(number))
    assert registry.get_device(device.id).cloud_to_device_message_count == 5

    messages = queue.Queue()
    device.connect().on_message_received = messages.put

    received = [messages.get(timeout=LIMIT) for _ in range(5)]
    assert [message.data for message in received] == [b"0", b"1", b"2", b"3", b"4"]
    # The SDK makes up identifiers.
    assert len({message.message_id for message in received}) == 5


def test_an_unknown_device_is_not_found(sender):
    with pytest.raises(Exception, match="C2D message send failure"):
        sender().send_c2d_message(random_id("py"), "lost")


def test_a_full_queue_takes_no_more(registry, sender, device):
    client = sender()
    for number in range(QUEUE_LIMIT):
        client.send_c2d_message(device.id, str(number))

    with pytest.raises(Exception, match="C2D message send failure"):
        client.send_c2d_message(device.id, "one too many")

    assert registry.get_device(device.id).cloud_to_device_message_count == QUEUE_LIMIT


def test_the_right_to_connect_services_is_enough(registry, sender, device):
    sender(policy="service").send_c2d_message(device.id, "1")

    assert registry.get_device(device.id).cloud_to_device_message_count == 1
