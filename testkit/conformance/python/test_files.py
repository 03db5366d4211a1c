"""File upload with the storage library, as an application would do it, and what back ends see."""

import os

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient

from hub import LIMIT, random_id


def start(client, name):
    """Begins an upload; answers the correlation id and a client of the blob."""
    info = client.get_storage_info_for_blob(name)
    url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
    return info, BlobClient.from_blob_url(url)


def finish(client, info, success=True):
    client.notify_blob_upload_status(
        info["correlationId"], success, 200 if success else 500, "ok" if success else "failed"
    )


def notifications(hub, device_id):
    """Every file-upload notification of a device; all that wait are completed."""
    found = []
    while True:
        response = hub.rest("GET", "/messages/serviceBound/filenotifications")
        if response.status_code == 204:
            return found
        record = response.json()
        token = response.headers["ETag"].strip('"')
        hub.rest("DELETE", f"/messages/serviceBound/filenotifications/{token}")
        if record["deviceId"] == device_id:
            found.append(record)


@pytest.mark.parametrize("size", [0, 11, 5 * 1024 * 1024 + 7])
def test_a_file_is_uploaded_read_back_and_announced(hub, device, size):
    client = device.connect()
    content = os.urandom(size)

    info, blob = start(client, "logs/report 1.bin")
    blob.upload_blob(content, overwrite=True, metadata={"kind": "report"})
    finish(client, info)

    assert info["blobName"] == f"{device.id}/logs/report 1.bin"
    assert blob.download_blob().readall() == content
    properties = blob.get_blob_properties()
    assert properties.size == size
    assert properties.metadata == {"kind": "report"}
    assert properties.etag and properties.last_modified
    (record,) = notifications(hub, device.id)
    assert record["blobName"] == info["blobName"]
    assert record["blobSizeInBytes"] == size
    assert record["blobUri"].endswith(f"/{info['containerName']}/{device.id}/logs/report%201.bin")


def test_blocks_are_committed_in_the_order_of_the_list(device):
    client = device.connect()
    info, blob = start(client, "blocks.txt")

    for name, text in [("b", b"world"), ("a", b"hello "), ("c", b"never")]:
        blob.stage_block(name, text, validate_content=True)
    committed, uncommitted = blob.get_block_list("all")
    assert [len(committed), len(uncommitted)] == [0, 3]
    blob.commit_block_list([BlobBlock("a"), BlobBlock("b")])
    finish(client, info)

    assert blob.download_blob().readall() == b"hello world"
    assert blob.download_blob(offset=6, length=3).readall() == b"wor"
    committed, uncommitted = blob.get_block_list("all")
    assert [block.size for block in committed] == [6, 5]
    assert uncommitted == []


def test_a_large_file_goes_up_in_blocks_side_by_side(device):
    client = device.connect()
    content = os.urandom(3 * 1024 * 1024)
    info = client.get_storage_info_for_blob("large.bin")
    url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
    blob = BlobClient.from_blob_url(url, max_single_put_size=1024, max_block_size=256 * 1024)

    blob.upload_blob(content, overwrite=True, max_concurrency=4, validate_content=True)
    finish(client, info)

    assert blob.download_blob(validate_content=True).readall() == content
    assert len(blob.get_block_list("committed")[0]) == 12


def test_a_blob_that_exists_is_not_overwritten_unasked(device):
    client = device.connect()
    info, blob = start(client, "once.txt")
    blob.upload_blob(b"first")

    with pytest.raises(HttpResponseError) as refused:
        blob.upload_blob(b"second")

    assert refused.value.error_code == "BlobAlreadyExists"
    finish(client, info)


def test_a_failed_upload_frees_its_place_and_announces_nothing(hub, device):
    client = device.connect()
    for _ in range(12):
        info, _ = start(client, "never.txt")
        finish(client, info, success=False)

    assert notifications(hub, device.id) == []


def test_ten_uploads_may_be_in_progress(device):
    client = device.connect()
    started = [start(client, f"file-{number}") for number in range(10)]

    with pytest.raises(Exception):
        start(client, "one-too-many")

    finish(client, started[0][0], success=False)
    start(client, "room-again")


def test_success_needs_a_blob(device):
    client = device.connect()
    info, _ = start(client, "missing.txt")

    with pytest.raises(Exception):
        finish(client, info)


def test_a_signature_opens_nothing_else(hub, device):
    client = device.connect()
    info, blob = start(client, "mine.txt")
    elsewhere = BlobClient.from_blob_url(blob.url.replace("mine.txt", "yours.txt"))

    for refused in [lambda: elsewhere.upload_blob(b"x"), blob.delete_blob]:
        with pytest.raises(HttpResponseError) as caught:
            refused()
        assert caught.value.status_code == 403
    with pytest.raises(ResourceNotFoundError):
        blob.download_blob()
    unsigned = blob.url.split("?")[0]
    response = requests.get(unsigned, headers={"x-ms-version": "2021-12-02"}, timeout=LIMIT)
    assert response.status_code == 401


def test_the_account_key_opens_containers(hub):
    container = ContainerClient.from_connection_string(hub.storage, random_id("box"))

    container.create_container()
    container.upload_blob("a/1.txt", b"one")
    container.upload_blob("a/2.txt", b"two", metadata={"k": "v"})
    container.upload_blob("b.txt", b"three")

    assert [blob.name for blob in container.list_blobs()] == ["a/1.txt", "a/2.txt", "b.txt"]
    assert [item.name for item in container.walk_blobs()] == ["a/", "b.txt"]
    pages = container.list_blobs(results_per_page=1).by_page()
    assert [len(list(page)) for page in pages] == [1, 1, 1]
    container.delete_blob("b.txt")
    assert container.download_blob("a/1.txt").readall() == b"one"
    container.delete_container()
