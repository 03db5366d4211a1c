"""Identity registry through the service SDK."""

import base64

import pytest
from azure.iot.hub.models import AuthenticationMechanism, ExportImportDevice, SymmetricKey
from msrest.exceptions import HttpOperationError

from hub import random_id, service_error

STALE_ETAG = "c3RhbGU="


def test_device_is_created_read_updated_and_deleted(registry):
    device_id = random_id("py")
    primary = base64.b64encode(b"p" * 32).decode()
    secondary = base64.b64encode(b"s" * 32).decode()

    created = registry.create_device_with_sas(device_id, primary, secondary, "enabled")
    assert created.device_id == device_id
    assert created.authentication.type == "sas"
    assert created.authentication.symmetric_key.primary_key == primary
    assert created.connection_state == "Disconnected"
    assert created.generation_id

    updated = registry.update_device_with_sas(
        device_id, created.etag, primary, secondary, "disabled", status_reason="maintenance"
    )
    assert (updated.status, updated.status_reason) == ("disabled", "maintenance")
    assert updated.etag != created.etag
    assert updated.generation_id == created.generation_id

    read = registry.get_device(device_id)
    assert (read.etag, read.status) == (updated.etag, "disabled")
    assert device_id in [listed.device_id for listed in registry.get_devices(1000)]

    registry.delete_device(device_id, read.etag)
    with pytest.raises(HttpOperationError) as caught:
        registry.get_device(device_id)
    assert service_error(caught)[0] == 404


def test_keys_are_generated_when_none_are_given(registry, device):
    keys = registry.get_device(device.id).authentication.symmetric_key

    assert len(base64.b64decode(keys.primary_key)) == 32
    assert len(base64.b64decode(keys.secondary_key)) == 32
    assert keys.primary_key != keys.secondary_key


def test_creating_a_device_twice_is_a_conflict(registry, device):
    with pytest.raises(HttpOperationError) as caught:
        registry.create_device_with_sas(device.id, None, None, "enabled")

    assert service_error(caught)[0] == 409


def test_a_stale_etag_is_refused(registry, device):
    with pytest.raises(HttpOperationError) as update:
        registry.update_device_with_sas(device.id, STALE_ETAG, None, None, "disabled")
    with pytest.raises(HttpOperationError) as delete:
        registry.delete_device(device.id, STALE_ETAG)

    assert service_error(update)[0] == 412
    assert service_error(delete)[0] == 412
    assert registry.get_device(device.id).status == "enabled"


def test_an_unknown_device_is_not_found(registry):
    unknown = random_id("py")

    for operation in (registry.get_device, registry.delete_device, registry.get_twin):
        with pytest.raises(HttpOperationError) as caught:
            operation(unknown)
        assert service_error(caught)[0] == 404


def test_module_is_created_read_updated_and_deleted(registry, device):
    created = registry.create_module_with_sas(device.id, "m1", "owner", None, None)
    assert (created.device_id, created.module_id) == (device.id, "m1")
    assert created.managed_by == "owner"

    keys = created.authentication.symmetric_key
    updated = registry.update_module_with_sas(
        device.id, "m1", "someone", created.etag, keys.primary_key, keys.secondary_key
    )
    assert updated.managed_by == "someone"
    assert [module.module_id for module in registry.get_modules(device.id)] == ["m1"]

    with pytest.raises(HttpOperationError) as conflict:
        registry.create_module_with_sas(device.id, "m1", "", None, None)
    assert service_error(conflict)[0] == 409

    registry.delete_module(device.id, "m1")
    with pytest.raises(HttpOperationError) as missing:
        registry.get_module(device.id, "m1")
    assert service_error(missing)[0] == 404
    assert registry.get_modules(device.id) == []


def test_bulk_reports_each_refusal_and_keeps_the_successes(registry, device):
    fresh = random_id("py")

    def entry(device_id, mode):
        keys = AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey())
        return ExportImportDevice(
            id=device_id, import_mode=mode, status="enabled", authentication=keys
        )

    mixed = registry.bulk_create_or_update_devices(
        [entry(fresh, "create"), entry(device.id, "create")]
    )
    assert not mixed.is_successful
    assert [(e.device_id, str(e.error_code)) for e in mixed.errors] == [(device.id, "409001")]
    assert registry.get_device(fresh).device_id == fresh

    removed = registry.bulk_create_or_update_devices(
        [entry(fresh, "delete"), entry(device.id, "delete")]
    )
    assert removed.is_successful
    assert not removed.errors
    with pytest.raises(HttpOperationError):
        registry.get_device(fresh)


def test_statistics_count_the_devices(registry, device):
    statistics = registry.get_device_registry_statistics()

    assert statistics.total_device_count >= 1
    assert statistics.total_device_count == (
        statistics.enabled_device_count + statistics.disabled_device_count
    )


def test_statistics_count_who_is_connected(registry, device):
    device.connect()

    assert registry.get_service_statistics().connected_device_count >= 1


@pytest.mark.parametrize(
    ("policy", "reads", "writes", "serves"),
    [
        ("registryRead", True, False, False),
        ("registryReadWrite", True, True, False),
        ("service", False, False, True),
        ("device", False, False, False),
    ],
)
def test_each_policy_key_permits_its_own_operations(hub, device, policy, reads, writes, serves):
    manager = hub.registry(policy)
    operations = [
        (reads, lambda: manager.get_device(device.id)),
        (serves, lambda: manager.get_twin(device.id)),
        (writes, lambda: manager.delete_device(device.id)),
    ]

    for permitted, operation in operations:
        if permitted:
            operation()
            continue
        with pytest.raises(HttpOperationError) as caught:
            operation()
        assert service_error(caught)[0] == 401
