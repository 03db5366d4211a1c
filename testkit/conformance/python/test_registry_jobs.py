"""Import and export of the registry through containers of the emulator's storage account."""

import json
import time
from datetime import datetime, timedelta, timezone

import pytest
from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import JobProperties
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from hub import LIMIT, random_id


@pytest.fixture
def jobs(hub):
    return IoTHubJobManager.from_connection_string(hub.connection_strings["registryReadWrite"])


@pytest.fixture
def container(hub):
    """A container and a URI that lets its holder use it."""
    client = ContainerClient.from_connection_string(hub.storage, random_id("jobs"))
    client.create_container()
    credential = client.credential
    sas = generate_container_sas(
        credential.account_name,
        client.container_name,
        account_key=credential.account_key,
        permission=ContainerSasPermissions(read=True, write=True, list=True, delete=True),
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )
    client.uri = f"{client.url}?{sas}"
    yield client
    client.delete_container()


def export(jobs, uri, exclude_keys=False, **options):
    """Creates an export; answers its job."""
    return jobs.create_import_export_job(
        JobProperties(
            type="export",
            output_blob_container_uri=uri,
            exclude_keys_in_export=exclude_keys,
            **options,
        )
    )


def import_(jobs, uri):
    return jobs.create_import_export_job(
        JobProperties(type="import", input_blob_container_uri=uri, output_blob_container_uri=uri)
    )


def wait(jobs, job):
    """The job once it has come to its end."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        job = jobs.get_import_export_job(job.job_id)
        if job.status not in ("enqueued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job.job_id} is {job.status}")


def lines(container, name):
    text = container.download_blob(name).readall().decode()
    return [json.loads(line) for line in text.splitlines()]


def write(container, items, name="devices.txt"):
    text = "".join(json.dumps(item) + "\n" for item in items)
    container.upload_blob(name, text, overwrite=True)


def test_an_export_has_every_device_with_its_twin_and_modules(registry, jobs, container):
    device = random_id("export")
    created = registry.create_device_with_sas(device, None, None, "enabled")
    registry.create_module_with_sas(device, "m1", "me", None, None)
    registry.update_twin(device, {"tags": {"floor": 3}}, "*")

    job = export(jobs, container.uri)
    assert job.type == "export"
    job = wait(jobs, job)

    assert job.status == "completed"
    assert job.progress == 100
    found = {
        line.get("moduleId"): line
        for line in lines(container, "devices.txt")
        if line["id"] == device
    }
    keys = found[None]["authentication"]["symmetricKey"]
    assert keys["primaryKey"] == created.authentication.symmetric_key.primary_key
    assert found[None]["tags"] == {"floor": 3}
    assert found[None]["properties"]["desired"]["$version"] == 1
    assert found["m1"]["managedBy"] == "me"
    assert job.job_id in [listed.job_id for listed in jobs.get_import_export_jobs()]

    wait(jobs, export(jobs, container.uri, True))
    for line in lines(container, "devices.txt"):
        assert line["authentication"]["symmetricKey"]["primaryKey"] is None


def test_an_import_does_what_each_line_says(registry, jobs, container):
    new, old, gone, bad = (random_id(name) for name in ("new", "old", "gone", "bad"))
    for device in (old, gone):
        registry.create_device_with_sas(device, None, None, "enabled")
    write(
        container,
        [
            {"id": new, "importMode": "create", "tags": {"a": 1}},
            {"id": new, "moduleId": "m1", "importMode": "create"},
            {"id": old, "status": "disabled", "statusReason": "import"},
            {"id": old, "importMode": "updateTwin", "properties": {"desired": {"b": 2}}},
            {"id": gone, "importMode": "delete"},
            {"id": bad, "importMode": "update"},
            {"id": old, "importMode": "create"},
        ],
    )

    job = wait(jobs, import_(jobs, container.uri))

    assert job.status == "completed"
    assert registry.get_twin(new).tags == {"a": 1}
    assert registry.get_module(new, "m1").module_id == "m1"
    assert registry.get_device(old).status == "disabled"
    assert registry.get_twin(old).properties.desired["b"] == 2
    with pytest.raises(Exception):
        registry.get_device(gone)
    assert [(line["deviceId"], line["errorCode"]) for line in lines(container, "importErrors.log")] == [
        (bad, 404001),
        (old, 409001),
    ]


def test_what_was_exported_can_be_imported(registry, jobs, container):
    device = random_id("round")
    created = registry.create_device_with_sas(device, None, None, "disabled")
    registry.update_twin(device, {"properties": {"desired": {"x": {"y": 1}}}}, "*")
    wait(jobs, export(jobs, container.uri))
    mine = [line for line in lines(container, "devices.txt") if line["id"] == device]
    write(container, mine)
    registry.delete_device(device)

    wait(jobs, import_(jobs, container.uri))

    again = registry.get_device(device)
    assert again.status == "disabled"
    assert again.authentication.symmetric_key.primary_key == created.authentication.symmetric_key.primary_key
    assert registry.get_twin(device).properties.desired["x"] == {"y": 1}


def test_the_identity_of_the_hub_is_enough_for_its_storage(jobs, container):
    with pytest.raises(Exception):
        export(jobs, container.url)

    job = wait(jobs, export(jobs, container.url, storage_authentication_type="identityBased"))

    assert job.status == "completed"
    assert container.get_blob_client("devices.txt").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "https://account.blob.core.windows.net/c?sv=2018-03-28&sr=c&sig=AAAA&sp=rwdl&se=2099-01-01",
        "https://localhost/uploads",
        "nonsense",
    ],
)
def test_other_storage_is_refused(jobs, uri):
    with pytest.raises(Exception):
        export(jobs, uri)


def test_names_can_be_chosen_and_an_ended_job_stays(jobs, container):
    job = wait(jobs, export(jobs, container.uri, output_blob_name="mine.txt"))

    assert job.status == "completed"
    assert container.get_blob_client("mine.txt").exists()
    jobs.cancel_import_export_job(job.job_id)
    assert jobs.get_import_export_job(job.job_id).status == "completed"
    with pytest.raises(Exception):
        jobs.get_import_export_job("unknown")
