"""What happens to a device's connection while it lives."""

import pytest
from azure.iot.device import MethodResponse
from azure.iot.device.exceptions import CredentialError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

from hub import LIMIT, connection_states, wait_for_state

TRANSPORTS = [
    pytest.param({}, id="mqtt"),
    pytest.param({"websockets": True}, id="websocket"),
]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_registry_shows_who_is_connected(hub, registry, device, transport):
    assert registry.get_device(device.id).connection_state == "Disconnected"

    client = device.connect(**transport)

    assert client.connected
    assert registry.get_device(device.id).connection_state == "Connected"
    assert len(hub.connections(device.id)) == 1


def test_a_second_client_takes_the_connection_over(hub, device):
    first = device.client(connection_retry=False)
    states = connection_states(first)
    first.connect()
    wait_for_state(states, True)

    second = device.connect()

    wait_for_state(states, False)
    second.send_message("from the second")
    assert second.connected
    assert [event["body"] for event in hub.events(device.id)] == ["from the second"]
    assert len(hub.connections(device.id)) == 1


def test_a_module_does_not_take_its_device_over(hub, device):
    client = device.connect(connection_retry=False)

    module = device.module("m1", connection_retry=False)

    client.send_message("device")
    module.send_message("module")
    assert client.connected and module.connected
    assert [event["body"] for event in hub.events(device.id)] == ["device", "module"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_dropped_connection_comes_back_with_its_subscriptions(hub, registry, device, transport):
    client = device.client(**transport)
    states = connection_states(client)
    patches = []
    client.on_twin_desired_properties_patch_received = patches.append
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, patches)
    )
    client.connect()
    wait_for_state(states, True)

    hub.drop(device.id)
    # One change for the loss, one for the return. The SDK reports a change only after it happened,
    # so by the time of the first the client may be connected again.
    states.get(timeout=LIMIT)
    states.get(timeout=LIMIT)
    assert client.connected

    client.send_message("back")
    assert [event["body"] for event in hub.events(device.id)] == ["back"]
    result = registry.invoke_device_method(
        device.id,
        CloudToDeviceMethod(
            method_name="ping", connect_timeout_in_seconds=LIMIT, response_timeout_in_seconds=LIMIT
        ),
    )
    assert result.status == 200
    registry.update_twin(device.id, Twin(properties=TwinProperties(desired={"after": 1})))
    assert client.get_twin()["desired"]["after"] == 1


def test_deleting_a_device_ends_its_connection(registry, device):
    client = device.client(connection_retry=False)
    states = connection_states(client)
    client.connect()
    wait_for_state(states, True)

    registry.delete_device(device.id)

    wait_for_state(states, False)
    with pytest.raises(CredentialError):
        client.connect()


def test_disabling_a_device_ends_its_connection(registry, device):
    client = device.client(connection_retry=False)
    states = connection_states(client)
    client.connect()
    wait_for_state(states, True)

    keys = registry.get_device(device.id).authentication.symmetric_key
    registry.update_device_with_sas(
        device.id, None, keys.primary_key, keys.secondary_key, "disabled"
    )

    wait_for_state(states, False)
    with pytest.raises(CredentialError):
        client.connect()
