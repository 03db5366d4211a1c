"""What the Event Hubs SDK is refused, as its own exceptions tell it."""

import base64
import re

import pytest
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, ConnectError, EventHubError

from event_hubs import Reading, plain, reader, tls, uamqp
from hub import random_id

STACKS = [plain, tls, uamqp]


def consumer(hub, way=plain, **options):
    # Retries are for the network; what is refused once would be refused again.
    return reader(EventHubConsumerClient, hub, way, **{"retry_total": 0, **options})


def with_field(way, name, value):
    """As `way`, with another field in the connection string."""

    def changed(hub):
        connection_string, options = way(hub)
        return re.sub(f"(?<={name}=)[^;]*", value, connection_string), options

    return changed


@pytest.mark.parametrize("way", STACKS)
def test_a_wrong_key_is_refused(hub, way):
    wrong = base64.b64encode(b"x" * 32).decode()

    with consumer(hub, with_field(way, "SharedAccessKey", wrong)) as client:
        with pytest.raises(AuthenticationError):
            client.get_eventhub_properties()
    with Reading(consumer(hub, with_field(way, "SharedAccessKey", wrong))) as reading:
        assert isinstance(reading.error(), AuthenticationError)


@pytest.mark.parametrize("way", STACKS)
def test_a_policy_that_may_not_connect_services_is_refused(hub, way):
    def registry_read(hub):
        key = hub.policy_key("registryRead")
        named = with_field(way, "SharedAccessKeyName", "registryRead")
        return with_field(named, "SharedAccessKey", key)(hub)

    with consumer(hub, registry_read) as client:
        with pytest.raises(AuthenticationError):
            client.get_eventhub_properties()


# By uamqp the SDK stumbles over its own error for what is not found.
@pytest.mark.parametrize("way", [plain, tls])
def test_an_unknown_event_hub_is_not_found(hub, way):
    with consumer(hub, way, eventhub_name="nobody") as client:
        with pytest.raises(ConnectError):
            client.get_eventhub_properties()


@pytest.mark.parametrize("way", [plain, tls])
def test_an_unknown_partition_is_not_found(hub, way):
    with consumer(hub, way) as client:
        with pytest.raises(ConnectError):
            client.get_partition_properties("99")


def test_an_unknown_consumer_group_is_not_found(hub):
    with Reading(consumer(hub, group=random_id("nobody")), partition_id="0") as reading:
        error = reading.error()

    assert isinstance(error, EventHubError)
    assert error.error == "not-found"


def test_events_are_sent_by_devices_alone(hub):
    producer = reader_of_producer(hub)
    with producer, pytest.raises(EventHubError) as refused:
        producer.send_event(EventData("x"))

    assert refused.value.error == "unauthorized-access"


def reader_of_producer(hub):
    connection_string, options = plain(hub)
    return EventHubProducerClient.from_connection_string(
        connection_string, retry_total=0, **options
    )
