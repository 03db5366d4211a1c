"""What `az iot hub monitor-events` and its kin do, call by call: the extension is built on uamqp."""

import json
import urllib.parse

import pytest
import uamqp

from hub import LIMIT, sas_token

TIMEOUT = LIMIT * 1000


def login(hub, policy="iothubowner"):
    """Endpoint with user and password, as the extension writes it."""
    name = hub.hostname.split(".")[0]
    user = urllib.parse.quote_plus(f"{policy}@sas.root.{name}")
    token = sas_token(hub.hostname, hub.policy_key(policy), policy)
    return f"amqps://{user}:{urllib.parse.quote_plus(token)}@{hub.hostname}"


def redirect(hub, path="/messages/events/$management"):
    """Where the hub sends those to who want events of it."""
    client = uamqp.ReceiveClient(login(hub) + path, timeout=TIMEOUT, prefetch=1)
    try:
        with pytest.raises(uamqp.errors.LinkRedirect) as raised:
            client.receive_message_batch(max_batch_size=1)
    finally:
        client.close()
    return raised.value


def test_events_are_monitored_behind_a_redirect(hub, device):
    hub.send_events(device, '{"t":1}', '{"t":2}')
    (stored, _) = hub.events(device.id)

    told = redirect(hub)
    hostname = told.hostname.decode()
    entity = told.address.decode().replace("amqps://", "").split("/")[1]
    assert told.port == 5671
    assert told.address.decode() == f"amqps://{hostname}:5671/{entity}/$management"

    auth = uamqp.authentication.SASTokenAuth.from_shared_access_key(
        f"sb://{hostname}/{entity}", "iothubowner", hub.policy_key("iothubowner")
    )
    client = uamqp.AMQPClient(f"amqps://{hostname}/{entity}", auth=auth)
    client.open()
    try:
        answer = client.mgmt_request(
            uamqp.Message(application_properties={"name": entity}),
            b"READ",
            op_type=b"com.microsoft:eventhub",
            status_code_field=b"status-code",
            description_fields=b"status-description",
            timeout=TIMEOUT,
        ).get_data()
    finally:
        client.close()
    assert answer[b"name"].decode() == entity
    assert answer[b"partition_count"] == 4

    partition = stored["partition"]
    source = uamqp.address.Source(
        f"amqps://{hostname}/{entity}/ConsumerGroups/$Default/Partitions/{partition}"
    )
    # The extension asks in words of its own, and without quotes.
    source.set_filter(b"amqp.annotation.x-opt-enqueuedtimeutc > 1767225600000")
    auth = uamqp.authentication.SASTokenAuth.from_shared_access_key(
        f"sb://{hostname}/{entity}", "iothubowner", hub.policy_key("iothubowner")
    )
    client = uamqp.ReceiveClient(source, auth=auth, timeout=TIMEOUT, prefetch=0)
    found = []
    try:
        for message in client.receive_messages_iter():
            annotations = message.annotations
            if annotations[b"iothub-connection-device-id"].decode() == device.id:
                found.append(json.loads(b"".join(message.get_data())))
            if len(found) == 2:
                break
    finally:
        client.close()
    assert found == [{"t": 1}, {"t": 2}]


def test_a_redirect_keeps_the_partition(hub):
    told = redirect(hub, "/messages/events/ConsumerGroups/$Default/Partitions/2")

    assert told.address.decode().endswith("/ConsumerGroups/$Default/Partitions/2")


def test_feedback_is_monitored(hub, device):
    hub.send_c2d(device.id, "hello", messageid="m-1", ack="full")
    messages = device.connect()
    messages.on_message_received = lambda message: None

    client = uamqp.ReceiveClient(login(hub) + "/messages/servicebound/feedback", timeout=TIMEOUT)
    try:
        records = []
        for message in client.receive_messages_iter():
            records += json.loads(b"".join(message.get_data()))
            found = [record for record in records if record["deviceId"] == device.id]
            message.accept()
            if found:
                break
    finally:
        client.close()

    (record,) = found
    assert record["originalMessageId"] == "m-1"
    assert record["statusCode"] == "Success"


def test_a_message_is_sent_to_a_device(hub, registry, device):
    client = uamqp.SendClient(login(hub) + "/messages/devicebound")
    properties = uamqp.message.MessageProperties(
        to=f"/devices/{device.id}/messages/devicebound", message_id="m-1"
    )
    try:
        client.queue_message(uamqp.Message(b"hello", properties=properties))
        assert client.send_all_messages() == [uamqp.constants.MessageState.SendComplete]
    finally:
        client.close()

    assert registry.get_device(device.id).cloud_to_device_message_count == 1


def test_a_wrong_login_is_refused(hub):
    endpoint = login(hub).replace("sig%3D", "sig%3DAAAA")
    client = uamqp.ReceiveClient(endpoint + "/messages/events/$management", timeout=TIMEOUT)
    try:
        with pytest.raises(uamqp.errors.AMQPError):
            client.receive_message_batch(max_batch_size=1)
    finally:
        client.close()
