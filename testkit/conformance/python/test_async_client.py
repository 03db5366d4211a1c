"""The asynchronous clients, by their receiving calls where nothing can be missed before them."""

import asyncio

import pytest
from azure.iot.device import Message, MethodResponse
from azure.iot.device.aio import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from azure.storage.blob import BlobClient

from hub import LIMIT

TRANSPORTS = [
    pytest.param({}, id="mqtt"),
    pytest.param({"websockets": True}, id="websocket"),
]


def run(device, story, **options):
    """Runs a story with a connected client; what the hub does is called from other threads."""

    async def told():
        client = IoTHubDeviceClient.create_from_connection_string(
            device.connection_string, **options
        )
        try:
            await asyncio.wait_for(client.connect(), LIMIT)
            await asyncio.wait_for(story(client), 2 * LIMIT)
        finally:
            await client.shutdown()

    asyncio.run(told())


class Heard:
    """A queue for handlers, which the SDK calls on threads of its own."""

    def __init__(self):
        self._loop = asyncio.get_running_loop()
        self._queue = asyncio.Queue()

    def put(self, item):
        self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def get(self):
        return await self._queue.get()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_messages_go_both_ways(hub, device, transport):
    async def story(client):
        message = Message("out", content_type="text/plain", content_encoding="utf-8")
        message.custom_properties["level"] = "high & low"
        await client.send_message(message)
        await asyncio.to_thread(hub.send_c2d, device.id, "in", {"k": "v"}, messageid="m-1")
        received = await client.receive_message()
        assert (received.data, received.message_id) == (b"in", "m-1")
        assert received.custom_properties == {"k": "v"}

    run(device, story, **transport)

    (event,) = hub.events(device.id)
    assert event["body"] == "out"
    assert event["applicationProperties"] == {"level": "high & low"}
    hub.wait_for_notices(device.id, "c2dEnded", 1)


def test_messages_sent_side_by_side_all_arrive(hub, device):
    texts = [str(number) for number in range(50)]

    async def story(client):
        await asyncio.gather(*(client.send_message(text) for text in texts))

    run(device, story)

    assert sorted(event["body"] for event in hub.events(device.id)) == sorted(texts)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_method_is_received_and_answered(registry, device, transport):
    call = CloudToDeviceMethod(
        method_name="reboot",
        payload={"delay": 5},
        connect_timeout_in_seconds=LIMIT,
        response_timeout_in_seconds=LIMIT,
    )

    async def story(client):
        answered = asyncio.create_task(
            asyncio.to_thread(registry.invoke_device_method, device.id, call)
        )
        request = await client.receive_method_request()
        assert request.name == "reboot"
        assert request.payload == {"delay": 5}
        response = MethodResponse.create_from_method_request(request, 202, {"ok": True})
        await client.send_method_response(response)
        result = await answered
        assert (result.status, result.payload) == (202, {"ok": True})

    run(device, story, **transport)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_twin_is_written_from_both_ends(registry, device, transport):
    async def story(client):
        patches = Heard()
        client.on_twin_desired_properties_patch_received = patches.put
        assert (await client.get_twin())["reported"] == {"$version": 1}
        await client.patch_twin_reported_properties({"battery": 80})
        update = Twin(properties=TwinProperties(desired={"interval": 30}))
        await asyncio.to_thread(registry.update_twin, device.id, update, "*")
        assert await patches.get() == {"interval": 30, "$version": 2}

    run(device, story, **transport)

    assert registry.get_twin(device.id).properties.reported["battery"] == 80


def test_a_file_is_uploaded(device):
    async def story(client):
        info = await client.get_storage_info_for_blob("async.txt")
        url = "https://{hostName}/{containerName}/{blobName}{sasToken}".format(**info)
        blob = BlobClient.from_blob_url(url)
        await asyncio.to_thread(blob.upload_blob, b"content")
        await client.notify_blob_upload_status(info["correlationId"], True, 200, "ok")
        assert (await asyncio.to_thread(blob.download_blob)).readall() == b"content"

    run(device, story)


def test_a_dropped_connection_comes_back(hub, device):
    async def story(client):
        states = Heard()
        client.on_connection_state_change = lambda: states.put(client.connected)
        await asyncio.to_thread(hub.drop, device.id)
        while await states.get():
            pass
        while not await states.get():
            pass
        await client.send_message("back")

    run(device, story)

    assert [event["body"] for event in hub.events(device.id)] == ["back"]


def test_a_module_has_its_own_client(hub, registry, device):
    module = registry.create_module_with_sas(device.id, "m1", "", None, None)
    key = module.authentication.symmetric_key.primary_key

    async def told():
        client = IoTHubModuleClient.create_from_connection_string(
            f"HostName={hub.hostname};DeviceId={device.id};ModuleId=m1;SharedAccessKey={key}"
        )
        try:
            await client.connect()
            await client.send_message_to_output("sensed", "out1")
            await client.patch_twin_reported_properties({"rate": 5})
        finally:
            await client.shutdown()

    asyncio.run(told())

    (event,) = hub.events(device.id)
    assert event["annotations"]["iothub-connection-module-id"] == "m1"
    assert registry.get_module_twin(device.id, "m1").properties.reported["rate"] == 5
