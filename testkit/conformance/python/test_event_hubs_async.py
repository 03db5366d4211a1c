"""The asynchronous half of the Event Hubs SDK."""

import asyncio
import contextlib

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.exceptions import AuthenticationError, ConnectionLostError
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from azure.storage.blob import ContainerClient

from event_hubs import WAYS, device_of, plain, reader
from hub import LIMIT, random_id


def consumer(hub, way=plain, **options):
    return reader(EventHubConsumerClient, hub, way, **options)


class Reading:
    """Has a client receive in a task, for as long as the `async with` lasts."""

    def __init__(self, client, batch=False, **options):
        self.client = client
        self.received = asyncio.Queue()
        self.errors = asyncio.Queue()
        self._receive = client.receive_batch if batch else client.receive
        self._options = options

    async def _take(self, context, event):
        if event:
            await self.received.put((context, event))

    async def _fail(self, _context, error):
        await self.errors.put(error)

    async def __aenter__(self):
        receiving = self._receive(self._take, on_error=self._fail, **self._options)
        self._task = asyncio.create_task(receiving)
        return self

    async def __aexit__(self, *_):
        await self.client.close()
        # It sleeps until it balances the load again, which is far away.
        self._task.cancel()
        await asyncio.wait([self._task], timeout=LIMIT)

    async def of(self, device_id, count):
        found = []
        while len(found) < count:
            context, event = await asyncio.wait_for(self.received.get(), LIMIT)
            if device_of(event) == device_id:
                found.append((context, event))
        return found

    async def bodies_of(self, device_id, count):
        return [event.body_as_str() for _, event in await self.of(device_id, count)]


@pytest.mark.parametrize("way", WAYS)
def test_an_event_arrives_and_its_partition_tells_about_it(hub, device, way):
    positions = hub.event_positions()
    hub.send_events(device, "1", "2", "3")
    last = hub.events(device.id)[-1]

    async def run():
        client = consumer(hub, way)
        properties = await client.get_eventhub_properties()
        assert properties["partition_ids"] == ["0", "1", "2", "3"]
        async with Reading(client, starting_position=positions) as reading:
            assert await reading.bodies_of(device.id, 3) == ["1", "2", "3"]
            partition = await client.get_partition_properties(str(last["partition"]))
        assert partition["last_enqueued_sequence_number"] == last["sequenceNumber"]
        assert partition["last_enqueued_offset"] == last["offset"]

    asyncio.run(run())


def test_events_come_in_batches_and_in_order(hub, device):
    bodies = [str(number) for number in range(50)]
    hub.send_events(device, *bodies)

    async def run():
        options = {"starting_position": "-1", "max_batch_size": 7, "max_wait_time": 0.2}
        received = []
        async with Reading(consumer(hub), batch=True, **options) as reading:
            while len(received) < 50:
                _, batch = await asyncio.wait_for(reading.received.get(), LIMIT)
                assert len(batch) <= 7
                received += [e.body_as_str() for e in batch if device_of(e) == device.id]
        return received

    assert asyncio.run(run()) == bodies


def test_a_reader_goes_on_behind_its_checkpoint(hub, device):
    positions = hub.event_positions()
    hub.send_events(device, *"abcde")
    container = random_id("checkpoints")
    with contextlib.suppress(ResourceExistsError):
        ContainerClient.from_connection_string(hub.storage, container).create_container()

    async def run():
        async with BlobCheckpointStore.from_connection_string(hub.storage, container) as store:
            client = consumer(hub, checkpoint_store=store)
            async with Reading(client, starting_position=positions) as reading:
                *_, (context, third) = await reading.of(device.id, 3)
                await context.update_checkpoint(third)
            client = consumer(hub, checkpoint_store=store)
            async with Reading(client, starting_position=positions) as reading:
                return await reading.bodies_of(device.id, 2)

    assert asyncio.run(run()) == ["d", "e"]


def test_a_higher_owner_level_displaces_a_lower_one(hub, device):
    hub.send_events(device, "1")
    partition = str(hub.events(device.id)[0]["partition"])

    async def run():
        def owning(level):
            client = consumer(hub, retry_total=0)
            options = {"partition_id": partition, "owner_level": level, "starting_position": "-1"}
            return Reading(client, **options)

        async with owning(1) as first:
            assert await first.bodies_of(device.id, 1) == ["1"]
            async with owning(2) as second:
                assert await second.bodies_of(device.id, 1) == ["1"]
                return await asyncio.wait_for(first.errors.get(), LIMIT)

    error = asyncio.run(run())
    assert isinstance(error, ConnectionLostError)
    assert error.error == "link:stolen"


def test_a_wrong_key_is_refused(hub):
    def wrong(hub):
        connection_string, options = plain(hub)
        return connection_string.replace("SharedAccessKey=", "SharedAccessKey=eA"), options

    async def run():
        async with consumer(hub, wrong, retry_total=0) as client:
            await client.get_eventhub_properties()

    with pytest.raises(AuthenticationError):
        asyncio.run(run())
