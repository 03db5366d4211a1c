"""Readers that share, or take over, the partitions of a consumer group; checkpoints."""

import contextlib
import queue

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.eventhub import EventHubConsumerClient
from azure.eventhub.exceptions import ConnectionLostError, EventHubError
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.storage.blob import ContainerClient

from event_hubs import Reading, Relay, plain, reader, uamqp
from hub import LIMIT, random_id

READERS_OF_A_PARTITION = 5


def consumer(hub, way=plain, **options):
    return reader(EventHubConsumerClient, hub, way, **{"retry_total": 0, **options})


@pytest.fixture
def store(hub):
    """A checkpoint store in the emulator's own blob storage."""
    container = random_id("checkpoints")
    with contextlib.suppress(ResourceExistsError):
        ContainerClient.from_connection_string(hub.storage, container).create_container()
    with BlobCheckpointStore.from_connection_string(hub.storage, container) as made:
        yield made


def test_a_reader_goes_on_behind_its_checkpoint(hub, device, store):
    positions = hub.event_positions()
    hub.send_events(device, *"abcde")

    with Reading(consumer(hub, checkpoint_store=store), starting_position=positions) as reading:
        *_, (context, third) = reading.of(device.id, 3)
        context.update_checkpoint(third)
    with Reading(consumer(hub, checkpoint_store=store), starting_position=positions) as reading:
        assert reading.bodies_of(device.id, 2) == ["d", "e"]


def test_two_readers_share_the_partitions(hub, device, store):
    positions = hub.event_positions()

    def sharing():
        options = {"load_balancing_interval": 0.5, "checkpoint_store": store}
        return Reading(consumer(hub, **options), starting_position=positions)

    with sharing() as first:
        taken = {first.began.get(timeout=LIMIT) for _ in range(4)}
        with sharing() as second:
            moved = {second.began.get(timeout=LIMIT) for _ in range(2)}
            left = {first.ended.get(timeout=LIMIT) for _ in range(2)}
            assert taken == {"0", "1", "2", "3"}
            assert moved == left

            hub.send_events(device, "shared")
            partition = str(hub.events(device.id)[0]["partition"])
            owner = second if partition in moved else first
            ((context, event),) = owner.of(device.id, 1)

    assert context.partition_id == partition
    assert event.body_as_str() == "shared"


@pytest.mark.parametrize("way", [plain, uamqp])
def test_a_higher_owner_level_displaces_a_lower_one(hub, device, way):
    hub.send_events(device, "1")
    partition = str(hub.events(device.id)[0]["partition"])

    def owning(level):
        return Reading(
            consumer(hub, way),
            partition_id=partition,
            owner_level=level,
            starting_position="-1",
        )

    with owning(1) as first:
        assert first.bodies_of(device.id, 1) == ["1"]
        with owning(2) as second:
            assert second.bodies_of(device.id, 1) == ["1"]
            displaced(first)
            # Those who come later cannot have it either, unless they are above.
            with owning(1) as third:
                displaced(third)
            with owning(None) as fourth:
                displaced(fourth)
            hub.send_events(device, "2")
            assert second.bodies_of(device.id, 1) == ["2"]


def displaced(reading):
    error = reading.error()
    assert isinstance(error, ConnectionLostError)
    assert error.error == "link:stolen"


def test_a_partition_has_five_readers_without_owner_level(hub, device):
    hub.send_events(device, "1")
    partition = str(hub.events(device.id)[0]["partition"])

    def reading():
        return Reading(consumer(hub), partition_id=partition, starting_position="-1")

    with contextlib.ExitStack() as stack:
        for _ in range(READERS_OF_A_PARTITION):
            one = stack.enter_context(reading())
            assert one.bodies_of(device.id, 1) == ["1"]
        error = stack.enter_context(reading()).error()
        assert isinstance(error, EventHubError)
        assert error.error == "resource-limit-exceeded"


def test_a_reader_that_lost_its_connection_goes_on_where_it_was(hub, device):
    hub.send_events(device, "1")
    partition = str(hub.events(device.id)[0]["partition"])

    with Relay(hub.ports["amqp"]) as relay:
        options = {"partition_id": partition, "starting_position": "-1"}
        with Reading(consumer(hub, relay.way, retry_total=3), **options) as reading:
            assert reading.bodies_of(device.id, 1) == ["1"]
            relay.cut()
            hub.send_events(device, "2")
            assert reading.bodies_of(device.id, 1) == ["2"]
            with pytest.raises(queue.Empty):
                reading.errors.get_nowait()
