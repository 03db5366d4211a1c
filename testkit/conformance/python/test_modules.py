"""Modules as an edge knows them, and devices that have an edge above them."""

import asyncio
import uuid

import pytest
from azure.iot.device import IoTHubModuleClient, MethodResponse
from azure.iot.device.aio import IoTHubModuleClient as AsyncModuleClient
from azure.iot.device.exceptions import ClientError
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from azure.iot.hub.protocol.models import Device as DeviceIdentity, DeviceCapabilities

from hub import LIMIT, random_id


@pytest.fixture
def edge(registry):
    """The identity of an edge device."""
    device_id = random_id("edge")
    identity = registry.protocol.devices.create_or_update_identity(
        device_id,
        DeviceIdentity(
            device_id=device_id,
            status="enabled",
            capabilities=DeviceCapabilities(iot_edge=True),
        ),
    )
    yield identity
    registry.delete_device(device_id)


def test_a_device_and_an_edge_have_an_edge_above_them(registry, edge):
    child = registry.create_device_with_sas(
        random_id("py"), None, None, "enabled", device_scope=edge.device_scope
    )
    below = registry.create_device_with_sas(
        random_id("edge"), None, None, "enabled", True, None, None, edge.device_scope
    )

    assert child.parent_scopes == [edge.device_scope]
    assert registry.get_twin(child.device_id).device_scope == edge.device_scope
    assert below.capabilities.iot_edge
    assert below.parent_scopes == [edge.device_scope]
    assert below.device_scope != edge.device_scope


def test_a_module_finds_the_hub_by_its_environment(hub, registry, edge, monkeypatch):
    module = registry.create_module_with_sas(edge.device_id, "sensor", "IotEdge", None, None)
    key = module.authentication.symmetric_key.primary_key
    # As the tools for developers of edge modules set it; the emulator is hub and gateway in one.
    monkeypatch.setenv(
        "EdgeHubConnectionString",
        f"HostName={hub.hostname};GatewayHostName={hub.hostname};DeviceId={edge.device_id};"
        f"ModuleId=sensor;SharedAccessKey={key}",
    )
    monkeypatch.setenv("EdgeModuleCACertificateFile", hub.ca_file)
    client = IoTHubModuleClient.create_from_edge_environment()

    try:
        client.connect()
        client.send_message_to_output("sensed", "out1")
        client.patch_twin_reported_properties({"rate": 5})
    finally:
        client.shutdown()

    (event,) = hub.events(edge.device_id)
    assert event["annotations"]["iothub-connection-module-id"] == "sensor"
    assert registry.get_module_twin(edge.device_id, "sensor").properties.reported["rate"] == 5


def test_a_module_listens_to_an_input_and_works_on(registry, device):
    """Only an edge runtime sends to inputs: the hub takes the subscription, and that is all."""
    client = device.module("m1")
    client.on_message_received = lambda message: None
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, request.payload)
    )

    call = CloudToDeviceMethod(method_name="echo", payload=7, response_timeout_in_seconds=LIMIT)
    result = registry.invoke_device_module_method(device.id, "m1", call)

    assert result.payload == 7


@pytest.mark.parametrize("module", [None, "m1"])
def test_a_module_may_not_call(device, module):
    """The hub takes calls from back ends alone; modules may call where an edge stands between."""
    device.module("m1")
    client = device.module("m2")

    with pytest.raises(ClientError):
        client.invoke_method({"methodName": "echo", "payload": "x"}, device.id, module)


def test_a_module_s_twin_is_replaced(registry, device):
    registry.create_module_with_sas(device.id, "m1", "", None, None)
    first = Twin(tags={"a": 1}, properties=TwinProperties(desired={"x": 1}))
    registry.update_module_twin(device.id, "m1", first, "*")

    registry.replace_module_twin(
        device.id, "m1", Twin(tags={"b": 2}, properties=TwinProperties(desired={"y": 2})), "*"
    )

    twin = registry.get_module_twin(device.id, "m1")
    assert twin.tags == {"b": 2}
    assert "x" not in twin.properties.desired and twin.properties.desired["y"] == 2


def test_identities_change_their_way_of_proving_themselves(registry, device):
    """Keys, then thumbprints, then an authority's signature; a device and its module alike."""
    thumbprint = uuid.uuid4().hex.upper() + "0" * 8

    updated = registry.update_device_with_x509(device.id, "*", thumbprint, None, "disabled")
    assert updated.authentication.type == "selfSigned"
    assert updated.authentication.x509_thumbprint.primary_thumbprint == thumbprint
    assert updated.status == "disabled"
    updated = registry.update_device_with_certificate_authority(device.id, "*", "enabled")
    assert updated.authentication.type == "certificateAuthority"

    created = registry.create_module_with_x509(device.id, "m1", "", thumbprint, thumbprint)
    assert created.authentication.x509_thumbprint.secondary_thumbprint == thumbprint
    updated = registry.update_module_with_certificate_authority(device.id, "m1", "", "*")
    assert updated.authentication.type == "certificateAuthority"
    updated = registry.update_module_with_x509(device.id, "m1", "", "*", thumbprint, None)
    assert updated.authentication.type == "selfSigned"


def test_the_asynchronous_client_may_not_call_either(hub, registry, device):
    module = registry.create_module_with_sas(device.id, "m1", "", None, None)
    key = module.authentication.symmetric_key.primary_key

    async def call():
        client = AsyncModuleClient.create_from_connection_string(
            f"HostName={hub.hostname};DeviceId={device.id};ModuleId=m1;SharedAccessKey={key}"
        )
        try:
            await client.connect()
            with pytest.raises(ClientError):
                await client.invoke_method({"methodName": "echo", "payload": "x"}, device.id)
        finally:
            await client.shutdown()

    asyncio.run(call())
