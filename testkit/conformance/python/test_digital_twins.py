"""Plug and Play: a device with a model, its digital twin, and commands on its components."""

import pytest
from azure.iot.device import MethodResponse
from azure.iot.hub import DigitalTwinClient
from msrest.exceptions import HttpOperationError

from hub import LIMIT

MODEL = "dtmi:com:example:TemperatureController;2"


@pytest.fixture
def digital_twins(hub):
    return DigitalTwinClient.from_connection_string(hub.connection_strings["service"])


def answering(client):
    """Has every command answered with what it was asked, and 201."""
    names = []

    def answer(request):
        names.append(request.name)
        payload = {"asked": request.payload}
        client.send_method_response(MethodResponse.create_from_method_request(request, 201, payload))

    client.on_method_request_received = answer
    return names


def test_the_model_is_remembered_until_a_connect_without_one(registry, digital_twins, device):
    client = device.connect(product_info=MODEL)

    assert registry.get_twin(device.id).additional_properties["modelId"] == MODEL
    twin = digital_twins.get_digital_twin(device.id)
    assert twin["$dtId"] == device.id
    assert twin["$metadata"]["$model"] == MODEL

    client.disconnect()
    device.connect()
    assert "$model" not in digital_twins.get_digital_twin(device.id)["$metadata"]


def test_a_digital_twin_is_made_of_what_the_device_reports(digital_twins, device):
    client = device.connect(product_info=MODEL)

    client.patch_twin_reported_properties(
        {
            "serialNumber": "abc",
            "thermostat1": {
                "__t": "c",
                "targetTemperature": {"value": 42.5, "ac": 200, "av": 2, "ad": "ok"},
            },
        }
    )

    twin = digital_twins.get_digital_twin(device.id)
    assert twin["serialNumber"] == "abc"
    component = twin["thermostat1"]
    assert component["targetTemperature"] == 42.5
    about = component["$metadata"]["targetTemperature"]
    assert (about["ackCode"], about["ackVersion"], about["ackDescription"]) == (200, 2, "ok")
    assert about["lastUpdateTime"]


def test_a_patch_reaches_the_device_as_desired_properties(digital_twins, device):
    client = device.connect(product_info=MODEL)
    patch = [{"op": "add", "path": "/thermostat1/targetTemperature", "value": 42}]

    digital_twins.update_digital_twin(device.id, patch)

    assert client.get_twin()["desired"] == {
        "thermostat1": {"__t": "c", "targetTemperature": 42},
        "$version": 2,
    }
    component = digital_twins.get_digital_twin(device.id)["thermostat1"]
    assert component["$metadata"]["targetTemperature"]["desiredValue"] == 42


def test_a_bad_patch_and_a_stale_etag_are_refused(digital_twins, device):
    for patch, etag in [
        ([{"op": "move", "path": "/a", "from": "/b"}], None),
        ([{"op": "add", "path": "/a", "value": [1]}], None),
        ([{"op": "add", "path": "/a", "value": 1}], '"stale"'),
    ]:
        with pytest.raises(HttpOperationError) as refused:
            digital_twins.update_digital_twin(device.id, patch, etag)
        assert refused.value.response.status_code == (412 if etag else 400)


def test_commands_of_the_root_and_of_a_component(digital_twins, device):
    names = answering(device.connect(product_info=MODEL))
    limits = {"connect_timeout_in_seconds": LIMIT, "response_timeout_in_seconds": LIMIT}

    root = digital_twins.invoke_command(device.id, "reboot", 5, **limits)
    component = digital_twins.invoke_component_command(
        device.id, "thermostat1", "getMaxMinReport", "2021-01-01", **limits
    )

    assert root == {"asked": 5}
    assert component == {"asked": "2021-01-01"}
    assert names == ["reboot", "thermostat1*getMaxMinReport"]


def test_a_command_for_nobody_is_refused(digital_twins, device):
    for device_id in (device.id, "nobody-at-all"):
        with pytest.raises(HttpOperationError) as refused:
            digital_twins.invoke_command(device_id, "reboot", 1)
        assert refused.value.response.status_code == 404
