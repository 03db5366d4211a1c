"""Device-to-cloud messages and the properties that travel with them."""

import json

import pytest
from azure.iot.device import Message

TRANSPORTS = [
    pytest.param({}, id="mqtt"),
    pytest.param({"websockets": True}, id="websocket"),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_message_arrives_with_system_and_application_properties(hub, registry, device, transport):
    message = Message('{"t":21.5}', message_id="m-1+2%", content_type="application/json")
    message.content_encoding = "utf-8"
    message.correlation_id = "c&1=2"
    message.custom_properties["level"] = "höch & low"
    message.custom_properties["a b"] = "c+d/e"

    device.connect(**transport).send_message(message)

    (event,) = hub.events(device.id)
    assert event["body"] == '{"t":21.5}'
    assert event["bodyEncoding"] == "utf-8"
    assert event["properties"]["message-id"] == "m-1+2%"
    assert event["properties"]["correlation-id"] == "c&1=2"
    assert event["properties"]["content-type"] == "application/json"
    assert event["properties"]["content-encoding"] == "utf-8"
    assert event["applicationProperties"] == {"level": "höch & low", "a b": "c+d/e"}

    annotations = event["annotations"]
    assert annotations["iothub-connection-device-id"] == device.id
    assert "iothub-connection-module-id" not in annotations
    assert annotations["iothub-message-source"] == "Telemetry"
    assert annotations["iothub-enqueuedtime"]
    identity = registry.get_device(device.id)
    assert annotations["iothub-connection-auth-generation-id"] == identity.generation_id
    assert json.loads(annotations["iothub-connection-auth-method"])["type"] == "sas"


def test_messages_of_one_device_keep_their_order(hub, device):
    client = device.connect()

    for number in range(50):
        client.send_message(str(number))

    assert [event["body"] for event in hub.events(device.id)] == [str(n) for n in range(50)]


def test_binary_bodies_are_kept_as_they_are(hub, device):
    device.connect().send_message(Message(b"\x00\xff\xfe"))

    (event,) = hub.events(device.id)
    assert (event["body"], event["bodyEncoding"]) == ("AP/+", "base64")


def test_module_sends_to_an_output(hub, device):
    module = device.module("m1")

    module.send_message_to_output(Message("from an output"), "out1")
    module.send_message(Message("from the module"))

    events = hub.events(device.id)
    assert [event["body"] for event in events] == ["from an output", "from the module"]
    for event in events:
        assert event["annotations"]["iothub-connection-device-id"] == device.id
        assert event["annotations"]["iothub-connection-module-id"] == "m1"
