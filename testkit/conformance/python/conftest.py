"""Fixtures: one hub per run, one device per test."""

import pytest

from hub import Device, Hub, random_id


@pytest.fixture(scope="session")
def hub():
    return Hub.from_environment()


@pytest.fixture(scope="session")
def registry(hub):
    return hub.registry()


@pytest.fixture
def device(hub, registry):
    """A freshly registered device with generated keys."""
    identity = registry.create_device_with_sas(random_id("py"), None, None, "enabled")
    device = Device(
        hub, registry, identity.device_id, identity.authentication.symmetric_key.primary_key
    )
    yield device
    device.close()
