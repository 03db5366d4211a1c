"""Scheduled jobs through the service SDK."""

import time

import pytest
from azure.iot.device import MethodResponse
from azure.iot.hub import IoTHubJobManager
from azure.iot.hub.models import CloudToDeviceMethod, JobRequest, Twin, TwinProperties
from msrest.exceptions import DeserializationError, HttpOperationError

from hub import LIMIT, random_id, service_error


@pytest.fixture(scope="module")
def jobs(hub):
    return IoTHubJobManager.from_connection_string(hub.connection_strings["iothubowner"])


def twin_job(job_id, device_id, start=None):
    update = Twin(etag="*", tags={"site": "A"}, properties=TwinProperties(desired={"x": 1}))
    return JobRequest(
        job_id=job_id,
        type="scheduleUpdateTwin",
        query_condition=f"deviceId IN ['{device_id}']",
        update_twin=update,
        start_time=start,
        max_execution_time_in_seconds=60,
    )


def method_job(job_id, *device_ids):
    names = ", ".join(f"'{device_id}'" for device_id in device_ids)
    return JobRequest(
        job_id=job_id,
        type="scheduleDeviceMethod",
        query_condition=f"deviceId IN [{names}]",
        cloud_to_device_method=CloudToDeviceMethod(
            method_name="reboot", payload={"delay": 5}, response_timeout_in_seconds=LIMIT
        ),
        max_execution_time_in_seconds=60,
    )


def ended(jobs, job_id):
    """The job once it is neither waiting nor running."""
    deadline = time.monotonic() + LIMIT
    while True:
        job = jobs.get_scheduled_job(job_id)
        if job.status not in ("queued", "scheduled", "running"):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.1)


def test_a_twin_job_updates_twins(registry, jobs, device):
    job_id = random_id("job")

    created = jobs.create_scheduled_job(job_id, twin_job(job_id, device.id))

    assert (created.job_id, created.status) == (job_id, "queued")
    assert created.update_twin.tags == {"site": "A"}
    job = ended(jobs, job_id)
    assert job.status == "completed"
    assert job.device_job_statistics.device_count == 1
    assert job.device_job_statistics.succeeded_count == 1
    twin = registry.get_twin(device.id)
    assert twin.tags == {"site": "A"}
    assert twin.properties.desired["x"] == 1


def test_a_method_job_calls_devices_and_counts_those_that_are_offline(registry, jobs, device):
    client = device.connect()
    calls = []

    def respond(request):
        calls.append((request.name, request.payload))
        client.send_method_response(
            MethodResponse.create_from_method_request(request, 200, {"ok": True})
        )

    client.on_method_request_received = respond
    offline = registry.create_device_with_sas(random_id("py"), None, None, "enabled").device_id
    job_id = random_id("job")

    jobs.create_scheduled_job(job_id, method_job(job_id, device.id, offline))

    statistics = ended(jobs, job_id).device_job_statistics
    assert (statistics.succeeded_count, statistics.failed_count) == (1, 1)
    assert calls == [("reboot", {"delay": 5})]


def test_a_job_is_cancelled(registry, jobs, device):
    job_id = random_id("job")
    start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    jobs.create_scheduled_job(job_id, twin_job(job_id, device.id, start))

    assert jobs.cancel_scheduled_job(job_id).status == "cancelled"
    assert jobs.get_scheduled_job(job_id).status == "cancelled"
    assert registry.get_twin(device.id).tags is None


def test_refusals(jobs, device):
    with pytest.raises(HttpOperationError) as caught:
        jobs.get_scheduled_job(random_id("job"))
    assert service_error(caught)[0] == 404

    job_id = random_id("job")
    stale = twin_job(job_id, device.id)
    stale.update_twin.etag = "AAAAAAAAAAE="
    with pytest.raises(HttpOperationError) as caught:
        jobs.create_scheduled_job(job_id, stale)
    assert service_error(caught)[0] == 400


def test_the_list_is_an_array_which_this_sdk_cannot_read(jobs):
    # The other SDKs need an array; this one follows the published description, an object.
    with pytest.raises(DeserializationError):
        jobs.query_scheduled_jobs("scheduleUpdateTwin", "completed")
