"""Twins, written from both ends."""

import queue

import pytest
from azure.iot.device.exceptions import ClientError, ServiceError
from azure.iot.hub.models import Twin, TwinProperties
from msrest.exceptions import HttpOperationError

from hub import LIMIT, service_error


def desired(**properties):
    return Twin(properties=TwinProperties(desired=properties))


def without_metadata(section):
    return {name: value for name, value in section.items() if name != "$metadata"}


def desired_patches(client):
    patches = queue.Queue()
    client.on_twin_desired_properties_patch_received = patches.put
    return patches


def test_a_new_twin_is_empty_for_the_device(device):
    twin = device.connect().get_twin()

    assert twin == {"desired": {"$version": 1}, "reported": {"$version": 1}}


def test_a_desired_patch_reaches_the_device(registry, device):
    client = device.connect()
    patches = desired_patches(client)

    registry.update_twin(device.id, desired(interval=30, mode={"fan": "low", "led": True}))
    assert patches.get(timeout=LIMIT) == {
        "interval": 30,
        "mode": {"fan": "low", "led": True},
        "$version": 2,
    }

    registry.update_twin(device.id, desired(mode={"fan": None}))
    assert patches.get(timeout=LIMIT) == {"mode": {"fan": None}, "$version": 3}

    assert client.get_twin()["desired"] == {"interval": 30, "mode": {"led": True}, "$version": 3}


def test_reported_properties_reach_the_back_end(registry, device):
    client = device.connect()

    client.patch_twin_reported_properties({"battery": 80, "net": {"ssid": "home", "rssi": -60.5}})
    client.patch_twin_reported_properties({"battery": 79, "net": {"rssi": None}})

    reported = registry.get_twin(device.id).properties.reported
    assert without_metadata(reported) == {"battery": 79, "net": {"ssid": "home"}, "$version": 3}
    assert reported["$metadata"]["net"]["ssid"]["$lastUpdated"]
    assert client.get_twin()["reported"] == without_metadata(reported)


def test_tags_belong_to_the_back_end_only(registry, device):
    client = device.connect()

    updated = registry.update_twin(device.id, Twin(tags={"site": {"floor": 1}}))
    merged = registry.update_twin(device.id, Twin(tags={"site": {"room": "a"}}))

    assert updated.tags == {"site": {"floor": 1}}
    assert merged.tags == {"site": {"floor": 1, "room": "a"}}
    assert client.get_twin() == {"desired": {"$version": 1}, "reported": {"$version": 1}}


def test_replacing_a_twin_drops_what_is_not_named(registry, device):
    patches = desired_patches(device.connect())
    registry.update_twin(device.id, desired(old=1))
    assert patches.get(timeout=LIMIT) == {"old": 1, "$version": 2}

    replacement = desired(new=2)
    replacement.tags = {"kind": "thermostat"}
    twin = registry.replace_twin(device.id, replacement)

    assert without_metadata(twin.properties.desired) == {"new": 2, "$version": 3}
    assert twin.tags == {"kind": "thermostat"}
    notified = patches.get(timeout=LIMIT)
    assert (notified["new"], notified["$version"]) == (2, 3)


def test_a_stale_etag_is_refused(registry, device):
    before = registry.get_twin(device.id)
    registry.update_twin(device.id, desired(a=1), before.etag)

    with pytest.raises(HttpOperationError) as caught:
        registry.update_twin(device.id, desired(a=2), before.etag)

    assert service_error(caught)[0] == 412
    assert registry.get_twin(device.id).properties.desired["a"] == 1


@pytest.mark.parametrize("key", ["a.b", "a b", "$a"])
def test_an_illegal_key_is_refused_from_both_ends(registry, device, key):
    client = device.connect()

    with pytest.raises(HttpOperationError) as service:
        registry.update_twin(device.id, Twin(tags={key: 1}))
    with pytest.raises(ClientError) as reported:
        client.patch_twin_reported_properties({key: 1})

    assert service_error(service)[0] == 400
    assert isinstance(reported.value.__cause__, ServiceError)
    assert "400" in str(reported.value.__cause__)
    # The refused update changed nothing and the connection lives on.
    assert client.get_twin()["reported"] == {"$version": 1}


def test_a_module_has_a_twin_of_its_own(registry, device):
    client = device.module("m1")
    patches = desired_patches(client)

    registry.update_module_twin(device.id, "m1", desired(rate=5))
    client.patch_twin_reported_properties({"rate": 5})

    assert patches.get(timeout=LIMIT) == {"rate": 5, "$version": 2}
    module_twin = registry.get_module_twin(device.id, "m1")
    assert without_metadata(module_twin.properties.reported) == {"rate": 5, "$version": 2}
    device_twin = registry.get_twin(device.id)
    assert "rate" not in device_twin.properties.desired
    assert "rate" not in device_twin.properties.reported
