"""The device client's receiving calls, which wait for the next of what they are about."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.iot.device import MethodResponse
from azure.iot.hub import IoTHubHttpRuntimeManager
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError

from hub import LIMIT


def test_a_message_is_waited_for(hub, device):
    client = device.connect()
    assert client.receive_message(block=False) is None

    hub.send_c2d(device.id, "first")
    hub.send_c2d(device.id, "second")

    assert client.receive_message(timeout=LIMIT).data == b"first"
    assert client.receive_message(timeout=LIMIT).data == b"second"
    hub.wait_for_notices(device.id, "c2dEnded", 2)


def test_a_method_of_a_name_is_waited_for(registry, device):
    client = device.connect()
    # Asked for once, the hub knows that the device listens.
    assert client.receive_method_request("reboot", block=False) is None
    call = CloudToDeviceMethod(
        method_name="reboot", payload="now", response_timeout_in_seconds=LIMIT
    )

    with ThreadPoolExecutor(1) as back_end:
        answered = back_end.submit(registry.invoke_device_method, device.id, call)
        request = client.receive_method_request("reboot", timeout=LIMIT)
        response = MethodResponse.create_from_method_request(request, 202, {"was": request.payload})
        client.send_method_response(response)
        result = answered.result(timeout=LIMIT)

    assert (result.status, result.payload) == (202, {"was": "now"})


def test_a_change_of_desired_properties_is_waited_for(registry, device):
    client = device.connect()
    assert client.receive_twin_desired_properties_patch(block=False) is None

    registry.update_twin(device.id, {"properties": {"desired": {"x": {"y": 1}}}}, "*")

    patch = client.receive_twin_desired_properties_patch(timeout=LIMIT)
    assert patch == {"x": {"y": 1}, "$version": 2}


def test_feedback_is_settled_by_its_lock(hub, device):
    """The SDK reads feedback and answers nothing: the lock is known from REST alone."""
    runtime = IoTHubHttpRuntimeManager.from_connection_string(hub.connection_strings["service"])
    messages = device.connect()
    hub.send_c2d(device.id, "told", messageid="m-1", ack="full")
    assert messages.receive_message(timeout=LIMIT).message_id == "m-1"
    hub.wait_for_notices(device.id, "c2dEnded", 1)

    def lock():
        response = hub.rest("GET", "/messages/serviceBound/feedback")
        return response.headers["ETag"].strip('"'), response.json()

    token, records = lock()
    runtime.abandon_feedback_notification(token)
    token, again = lock()
    assert again == records
    runtime.complete_feedback_notification(token)
    with pytest.raises(HttpOperationError):
        runtime.complete_feedback_notification(token)
    assert runtime.receive_feedback_notification() is None
