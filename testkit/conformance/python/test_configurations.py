"""Automatic device management and edge deployments."""

import pytest
from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import Twin
from azure.iot.hub.protocol.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    Device as DeviceIdentity,
    DeviceCapabilities,
)
from msrest.exceptions import HttpOperationError

from hub import random_id


@pytest.fixture
def configurations(hub):
    return IoTHubConfigurationManager.from_connection_string(
        hub.connection_strings["iothubowner"]
    )


@pytest.fixture
def configuration(configurations, device):
    """A configuration for one device, by a tag that only it gets."""
    configuration_id = random_id("config")
    yield Configuration(
        id=configuration_id,
        schema_version="1.0",
        content=ConfigurationContent(
            device_content={"properties.desired.chiller": {"temp": 66}}
        ),
        target_condition=f"tags.site='{device.id}'",
        priority=10,
        labels={"app": "conformance"},
        metrics=ConfigurationMetrics(
            queries={"mine": f"SELECT deviceId FROM devices WHERE deviceId = '{device.id}'"}
        ),
    )
    try:
        configurations.delete_configuration(configuration_id)
    except HttpOperationError:
        pass


def desired(registry, device_id, module_id=None):
    twin = (
        registry.get_module_twin(device_id, module_id)
        if module_id
        else registry.get_twin(device_id)
    )
    section = twin.properties.desired
    return {name: value for name, value in section.items() if not name.startswith("$")}


def test_a_configuration_follows_the_tags(registry, configurations, configuration, device):
    created = configurations.create_configuration(configuration)
    assert created.content.device_content == configuration.content.device_content
    assert created.content.modules_content is None
    assert (created.priority, created.labels) == (10, {"app": "conformance"})
    assert created.system_metrics.results == {"targetedCount": 0, "appliedCount": 0}

    registry.update_twin(device.id, Twin(tags={"site": device.id}))
    assert desired(registry, device.id) == {"chiller": {"temp": 66}}
    twin = registry.get_twin(device.id)
    leaf = twin.properties.desired["$metadata"]["chiller"]["temp"]
    assert leaf["$lastUpdatedBy"] == configuration.id
    assert leaf["$lastUpdatedByDigest"].isdigit()
    read = configurations.get_configuration(configuration.id)
    assert read.system_metrics.results == {"targetedCount": 1, "appliedCount": 1}
    assert read.metrics.results == {"mine": 1}

    registry.update_twin(device.id, Twin(tags={"site": None}))
    assert desired(registry, device.id) == {}


def test_etags_and_the_content_that_never_changes(configurations, configuration):
    created = configurations.create_configuration(configuration)
    with pytest.raises(HttpOperationError) as again:
        configurations.create_configuration(configuration)
    assert again.value.response.status_code == 409

    created.priority = 3
    updated = configurations.update_configuration(created, created.etag)
    assert updated.priority == 3 and updated.etag != created.etag
    with pytest.raises(HttpOperationError) as stale:
        configurations.update_configuration(created, '"stale"')
    assert stale.value.response.status_code == 412

    updated.content.device_content = {"properties.desired.other": 1}
    with pytest.raises(HttpOperationError) as immutable:
        configurations.update_configuration(updated, "*")
    assert immutable.value.response.status_code == 400

    assert configuration.id in [it.id for it in configurations.get_configurations()]
    configurations.delete_configuration(configuration.id, updated.etag)
    with pytest.raises(HttpOperationError) as gone:
        configurations.get_configuration(configuration.id)
    assert gone.value.response.status_code == 404


def test_queries_are_checked(configurations):
    good = configurations.test_configuration_queries(
        ConfigurationQueriesTestInput(
            target_condition="tags.site='A'",
            custom_metric_queries={"m": "SELECT deviceId FROM devices"},
        )
    )
    bad = configurations.test_configuration_queries(
        ConfigurationQueriesTestInput(
            target_condition="tags.site = ", custom_metric_queries={"m": "nonsense"}
        )
    )

    assert (good.target_condition_error, good.custom_metric_query_errors) == (None, {})
    assert bad.target_condition_error and bad.custom_metric_query_errors["m"]


@pytest.fixture
def edge(registry):
    device_id = random_id("edge")
    registry.protocol.devices.create_or_update_identity(
        device_id,
        DeviceIdentity(
            device_id=device_id,
            status="enabled",
            capabilities=DeviceCapabilities(iot_edge=True),
        ),
    )
    yield device_id
    registry.delete_device(device_id)


def modules_content():
    return {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": {}}},
        "$edgeHub": {"properties.desired": {"routes": {"up": "FROM /* INTO $upstream"}}},
        "sensor": {"properties.desired.rate": 5},
    }


def test_a_deployment_configures_the_modules_of_an_edge(registry, configurations, edge):
    deployment = Configuration(
        id=random_id("deployment"),
        schema_version="2.0",
        content=ConfigurationContent(modules_content=modules_content()),
        target_condition=f"deviceId='{edge}'",
        priority=1,
    )
    configurations.create_configuration(deployment)

    assert {module.module_id for module in registry.get_modules(edge)} == {
        "$edgeAgent",
        "$edgeHub",
        "sensor",
    }
    assert desired(registry, edge, "$edgeAgent") == {"schemaVersion": "1.1", "modules": {}}
    assert desired(registry, edge, "sensor") == {"rate": 5}
    metrics = configurations.get_configuration(deployment.id).system_metrics
    assert (metrics.results["targetedCount"], metrics.results["appliedCount"]) == (1, 1)

    configurations.delete_configuration(deployment.id)
    assert desired(registry, edge, "$edgeHub") == {}


def test_content_is_applied_to_an_edge_once(registry, configurations, edge, device):
    content = ConfigurationContent(modules_content=modules_content())

    configurations.apply_configuration_on_edge_device(edge, content)
    assert desired(registry, edge, "sensor") == {"rate": 5}

    with pytest.raises(HttpOperationError) as no_edge:
        configurations.apply_configuration_on_edge_device(device.id, content)
    assert no_edge.value.response.status_code == 400
