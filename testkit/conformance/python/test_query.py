"""Queries over twins: filters, projections, aggregates and pages."""

import json

import pytest
from azure.iot.hub.models import QuerySpecification, Twin
from msrest.exceptions import HttpOperationError

from hub import random_id, service_error


@pytest.fixture
def site(registry):
    """A tag that no other test uses, and five devices that have it."""
    site = random_id("site")
    for number in range(5):
        device_id = f"{site}-{number}"
        registry.create_device_with_sas(device_id, None, None, "enabled")
        registry.update_twin(device_id, Twin(tags={"site": site, "floor": number % 2}))
    return site


def ask(registry, query, *arguments):
    return registry.query_iot_hub(QuerySpecification(query=query), *arguments)


def test_a_filter_finds_whole_twins(registry, site):
    result = ask(registry, f"SELECT * FROM devices WHERE tags.site = '{site}' AND tags.floor = 1")

    assert [twin.device_id for twin in result.items] == [f"{site}-1", f"{site}-3"]
    twin = result.items[0]
    assert twin.tags == {"site": site, "floor": 1}
    assert (twin.status, twin.connection_state) == ("enabled", "Disconnected")
    assert twin.properties.desired["$version"] == 1
    assert twin.as_dict() == registry.get_twin(f"{site}-1").as_dict()
    assert not result.continuation_token


def test_pages_follow_by_the_continuation_token(registry, site):
    query = f"SELECT * FROM devices WHERE tags.site = '{site}'"
    pages = []
    token = None
    while True:
        result = ask(registry, query, token, 2)
        pages.append([twin.device_id[-1] for twin in result.items])
        token = result.continuation_token
        if not token:
            break

    assert pages == [["0", "1"], ["2", "3"], ["4"]]


def test_columns_and_aggregates_come_as_additional_properties(registry, site):
    of_site = f"FROM devices WHERE tags.site = '{site}'"

    count = ask(registry, f"SELECT COUNT() AS number {of_site}").items
    floors = ask(registry, f"SELECT tags.floor, COUNT() AS n {of_site} GROUP BY tags.floor").items
    columns = ask(registry, f"SELECT deviceId, tags.floor AS story {of_site}").items

    assert [row.additional_properties for row in count] == [{"number": 5}]
    found = [row.additional_properties for row in floors]
    assert found == [{"floor": 0, "n": 3}, {"floor": 1, "n": 2}]
    assert columns[3].device_id == f"{site}-3"
    assert columns[3].additional_properties == {"story": 1}


def test_what_a_device_reports_can_be_asked_for(registry, device):
    client = device.connect()
    client.patch_twin_reported_properties({"battery": {"level": 81.5}})
    query = (
        "SELECT * FROM devices WHERE properties.reported.battery.level > 81"
        f" AND connectionState = 'Connected' AND STARTSWITH(deviceId, '{device.id}')"
    )

    assert [twin.device_id for twin in ask(registry, query).items] == [device.id]

    client.patch_twin_reported_properties({"battery": {"level": 12}})
    assert ask(registry, query).items == []


def test_modules_are_a_collection_of_their_own(registry, device):
    registry.create_module_with_sas(device.id, "m1", "", None, None)
    query = f"SELECT * FROM devices.modules WHERE deviceId = '{device.id}'"

    found = ask(registry, query).items

    assert [(twin.device_id, twin.module_id) for twin in found] == [(device.id, "m1")]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM devices WHERE",
        "SELECT * FROM nowhere",
        "SELECT * FROM devices WHERE STARTS_WITH(deviceId, 'a')",
        "SELECT * FROM devices WHERE tags.group = 1",
        "SELECT * FROM devices ORDER BY deviceId",
    ],
)
def test_what_cannot_be_read_is_refused(registry, query):
    with pytest.raises(HttpOperationError) as caught:
        ask(registry, query)

    assert service_error(caught)[0] == 400
    assert "ArgumentInvalid" in json.dumps(caught.value.response.json())


def test_a_token_of_another_query_is_refused(registry, site):
    query = f"SELECT * FROM devices WHERE tags.site = '{site}'"
    token = ask(registry, query, None, 2).continuation_token

    with pytest.raises(HttpOperationError) as caught:
        ask(registry, "SELECT * FROM devices", token, 2)

    assert service_error(caught)[0] == 400
