"""Direct methods from the service SDK to the device SDK."""

import threading

import pytest
from azure.iot.device import MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError

from hub import LIMIT, random_id, service_error


def method(name, payload=None, response_timeout=LIMIT, connect_timeout=0):
    return CloudToDeviceMethod(
        method_name=name,
        payload=payload,
        response_timeout_in_seconds=response_timeout,
        connect_timeout_in_seconds=connect_timeout,
    )


def answer(client, status=200):
    """Has the client answer every call with the call's own name and payload."""

    def respond(request):
        echo = {"name": request.name, "payload": request.payload}
        client.send_method_response(
            MethodResponse.create_from_method_request(request, status, echo)
        )

    client.on_method_request_received = respond


@pytest.mark.parametrize("payload", [{"delay": 5}, [1, 2], "text", 7, True])
def test_payload_and_status_travel_both_ways(registry, device, payload):
    answer(device.connect(), status=418)

    result = registry.invoke_device_method(device.id, method("echo", payload))

    assert result.status == 418
    assert result.payload == {"name": "echo", "payload": payload}


def test_a_missing_payload_reaches_the_device_as_an_empty_string(registry, device):
    answer(device.connect())

    result = registry.invoke_device_method(device.id, method("echo"))

    # The service SDK writes a missing payload as "".
    assert result.payload == {"name": "echo", "payload": ""}


def test_a_response_without_payload_is_null(registry, device):
    client = device.connect()
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 204)
    )

    result = registry.invoke_device_method(device.id, method("quiet"))

    assert (result.status, result.payload) == (204, None)


def test_an_offline_device_is_not_online(registry, device):
    with pytest.raises(HttpOperationError) as caught:
        registry.invoke_device_method(device.id, method("echo"))

    assert service_error(caught) == (404, 404103)


def test_an_unknown_device_is_not_found(registry):
    with pytest.raises(HttpOperationError) as caught:
        registry.invoke_device_method(random_id("py"), method("echo"))

    assert service_error(caught) == (404, 404001)


def test_a_silent_device_times_out(registry, device):
    client = device.connect()
    asked = threading.Event()
    client.on_method_request_received = lambda request: asked.set()

    with pytest.raises(HttpOperationError) as caught:
        registry.invoke_device_method(device.id, method("ignored", response_timeout=5))

    assert asked.is_set()
    assert service_error(caught) == (504, 504101)


def test_a_call_waits_for_the_device_to_connect(registry, device):
    results = []
    caller = threading.Thread(
        target=lambda: results.append(
            registry.invoke_device_method(device.id, method("late", 1, connect_timeout=LIMIT))
        )
    )
    caller.start()

    answer(device.connect())
    caller.join(LIMIT)

    assert [result.payload for result in results] == [{"name": "late", "payload": 1}]


def test_a_module_answers_its_own_methods(registry, device):
    answer(device.connect(), status=201)
    answer(device.module("m1"), status=202)

    to_module = registry.invoke_device_module_method(device.id, "m1", method("echo", 1))
    to_device = registry.invoke_device_method(device.id, method("echo", 2))

    assert (to_module.status, to_module.payload) == (202, {"name": "echo", "payload": 1})
    assert (to_device.status, to_device.payload) == (201, {"name": "echo", "payload": 2})


def test_an_unknown_module_is_not_found(registry, device):
    with pytest.raises(HttpOperationError) as caught:
        registry.invoke_device_module_method(device.id, "nobody", method("echo"))

    assert service_error(caught) == (404, 404010)
