"""The Event Hubs SDK reads the built-in endpoint."""

import json
import queue

import pytest
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.eventhub import EventHubConsumerClient
from azure.iot.device import Message

from event_hubs import GROUP, WAYS, Reading, enqueued, plain, reader, tls, uamqp, websocket
from hub import LIMIT, random_id, sas_token


def consumer(hub, way=plain, **options):
    return reader(EventHubConsumerClient, hub, way, **options)


@pytest.mark.parametrize("way", WAYS)
def test_an_event_arrives_with_all_its_properties(hub, registry, device, way):
    message = Message('{"t":21.5}', message_id="m-1", content_type="application/json")
    message.content_encoding = "utf-8"
    message.correlation_id = "c&1=2"
    message.custom_properties["level"] = "höch & low"
    device.connect().send_message(message)
    (stored,) = hub.events(device.id)

    options = {"partition_id": str(stored["partition"]), "starting_position": "-1"}
    with Reading(consumer(hub, way), **options) as reading:
        ((context, event),) = reading.of(device.id, 1)

    assert event.body_as_json() == {"t": 21.5}
    assert event.properties == {b"level": "höch & low".encode()}
    assert event.message_id == "m-1"
    assert event.correlation_id == "c&1=2"
    assert event.content_type == "application/json"
    assert event.sequence_number == stored["sequenceNumber"]
    assert event.offset == stored["offset"]
    assert event.partition_key is None
    assert event.enqueued_time == enqueued(stored)
    assert context.partition_id == str(stored["partition"])
    assert context.consumer_group == GROUP

    system = event.system_properties
    assert system[b"message-id"] == b"m-1"
    assert system[b"correlation-id"] == b"c&1=2"
    assert system[b"content-type"] == b"application/json"
    assert system[b"content-encoding"] == b"utf-8"
    assert b"iothub-connection-module-id" not in system
    assert system[b"iothub-message-source"] == b"Telemetry"
    assert system[b"iothub-enqueuedtime"] == system[b"x-opt-enqueued-time"]
    generation = registry.get_device(device.id).generation_id
    assert system[b"iothub-connection-auth-generation-id"] == generation.encode()
    method = json.loads(system[b"iothub-connection-auth-method"])
    assert (method["scope"], method["type"], method["issuer"]) == ("device", "sas", "iothub")


@pytest.mark.parametrize("way", WAYS)
def test_the_hub_and_its_partitions_tell_about_themselves(hub, device, way):
    hub.send_events(device, "1", "2")
    last = hub.events(device.id)[-1]

    with consumer(hub, way) as client:
        properties = client.get_eventhub_properties()
        ids = client.get_partition_ids()
        partition = client.get_partition_properties(str(last["partition"]))

    assert properties["eventhub_name"] == client.eventhub_name
    assert properties["partition_ids"] == ids == ["0", "1", "2", "3"]
    assert properties["created_at"] < partition["last_enqueued_time_utc"]
    assert partition["eventhub_name"] == client.eventhub_name
    assert partition["id"] == str(last["partition"])
    assert partition["beginning_sequence_number"] == 0
    assert partition["last_enqueued_sequence_number"] == last["sequenceNumber"]
    assert partition["last_enqueued_offset"] == last["offset"]
    assert partition["last_enqueued_time_utc"] == enqueued(last)
    assert partition["is_empty"] is False


@pytest.mark.parametrize("way", [plain, tls, websocket, uamqp])
def test_a_large_event_arrives_whole(hub, device, way):
    body = "0123456789" * 20_000
    device.connect().send_message(body)
    (stored,) = hub.events(device.id)

    options = {"partition_id": str(stored["partition"]), "starting_position": "-1"}
    with Reading(consumer(hub, way), **options) as reading:
        assert reading.bodies_of(device.id, 1) == [body]


def test_a_module_s_event_names_the_module(hub, device):
    positions = hub.event_positions()
    device.module("m1").send_message_to_output("from an output", "out1")

    with Reading(consumer(hub), starting_position=positions) as reading:
        ((_, event),) = reading.of(device.id, 1)

    assert event.system_properties[b"iothub-connection-module-id"] == b"m1"


def offset(event):
    return event["offset"]


def sequence_number(event):
    return event["sequenceNumber"]


@pytest.mark.parametrize("position", [offset, sequence_number, enqueued])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("way", [plain, uamqp])
def test_reading_begins_at_an_event(hub, device, position, inclusive, way):
    for number in range(4):
        hub.send_events(device, str(number))
        hub.advance_clock(1)
    second = hub.events(device.id)[1]

    with Reading(
        consumer(hub, way),
        partition_id=str(second["partition"]),
        starting_position=position(second),
        starting_position_inclusive=inclusive,
    ) as reading:
        expected = ["1", "2", "3"] if inclusive else ["2", "3"]
        assert reading.bodies_of(device.id, len(expected)) == expected


def test_each_partition_can_have_a_position_of_its_own(hub, device):
    hub.send_events(device, "0", "1", "2")
    second = hub.events(device.id)[1]

    positions = {str(second["partition"]): second["sequenceNumber"]}
    with Reading(consumer(hub), starting_position=positions) as reading:
        assert reading.bodies_of(device.id, 1) == ["2"]


@pytest.mark.parametrize("way", [plain, uamqp])
def test_latest_leaves_out_what_was_there_before(hub, device, way):
    hub.send_events(device, "before")

    with Reading(consumer(hub, way), starting_position="@latest") as reading:
        # Nothing tells when the link is there, so that the first of these can be too early.
        arrived = None
        for number in range(LIMIT * 5):
            hub.send_events(device, str(number))
            try:
                _, event = reading.received.get(timeout=0.2)
            except queue.Empty:
                continue
            arrived = event.body_as_str()
            break

    assert arrived is not None and arrived != "before"


def test_events_come_in_batches_and_in_order(hub, device):
    bodies = [str(number) for number in range(50)]
    hub.send_events(device, *bodies)

    with Reading(
        consumer(hub),
        batch=True,
        partition_id=str(hub.events(device.id)[0]["partition"]),
        starting_position="-1",
        max_batch_size=7,
        max_wait_time=0.2,
    ) as reading:
        received = []
        while len(received) < 50:
            _, batch = reading.received.get(timeout=LIMIT)
            assert len(batch) <= 7
            received += [event for event in batch if of_device(event, device)]

    assert [event.body_as_str() for event in received] == bodies


def of_device(event, device):
    return event.system_properties[b"iothub-connection-device-id"] == device.id.encode()


def test_an_event_tells_how_far_its_partition_is(hub, device):
    hub.send_events(device, "1", "2", "3")
    first, _, last = hub.events(device.id)

    with Reading(
        consumer(hub),
        partition_id=str(first["partition"]),
        starting_position=first["sequenceNumber"],
        starting_position_inclusive=True,
        track_last_enqueued_event_properties=True,
    ) as reading:
        ((context, _),) = reading.of(device.id, 1)
        properties = context.last_enqueued_event_properties

    assert properties["sequence_number"] == last["sequenceNumber"]
    assert properties["offset"] == last["offset"]
    assert properties["enqueued_time"] == enqueued(last)
    assert properties["retrieval_time"] >= enqueued(last)


@pytest.mark.parametrize("kind", ["key", "token"])
@pytest.mark.parametrize("stack", [{}, {"uamqp_transport": True}], ids=["pyamqp", "uamqp"])
def test_a_client_can_be_made_without_a_connection_string(hub, device, kind, stack):
    entity = dict(
        field.split("=", 1) for field in hub.connection_strings["events"].split(";") if field
    )["EntityPath"]
    if kind == "key":
        credential = AzureNamedKeyCredential("service", hub.policy_key("service"))
    else:
        resource = f"sb://{hub.hostname}/{entity}"
        token = sas_token(resource, hub.policy_key("service"), "service")
        credential = AzureSasCredential(token)
    positions = hub.event_positions()
    hub.send_events(device, "1")

    client = EventHubConsumerClient(
        hub.hostname, entity, GROUP, credential, connection_verify=hub.ca_file, **stack
    )
    with Reading(client, starting_position=positions) as reading:
        assert reading.bodies_of(device.id, 1) == ["1"]


def test_the_entity_goes_by_its_documented_name_as_well(hub, device):
    positions = hub.event_positions()
    hub.send_events(device, "1")

    client = consumer(hub, eventhub_name="messages/events")
    with Reading(client, starting_position=positions) as reading:
        assert reading.bodies_of(device.id, 1) == ["1"]


def test_a_consumer_group_reads_for_itself(hub, device):
    group = hub.consumer_group(random_id("group"))
    positions = hub.event_positions()
    hub.send_events(device, "1")

    with (
        Reading(consumer(hub), starting_position=positions) as reading,
        Reading(consumer(hub, group=group), starting_position=positions) as other,
    ):
        assert reading.bodies_of(device.id, 1) == ["1"]
        assert other.bodies_of(device.id, 1) == ["1"]
