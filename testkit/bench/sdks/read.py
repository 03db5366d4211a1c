"""Reads so many events with azure-eventhub and prints how many a second it got.

    read.py CONNECTION_STRING COUNT [uamqp]
"""

import sys
import threading
import time

from azure.eventhub import EventHubConsumerClient

connection_string, wanted = sys.argv[1], int(sys.argv[2])
client = EventHubConsumerClient.from_connection_string(
    connection_string, consumer_group="$Default", uamqp_transport="uamqp" in sys.argv[3:]
)
lock, done = threading.Lock(), threading.Event()
count, began = 0, None


def on_event_batch(partition, events):
    global count, began
    with lock:
        began = began or time.monotonic()
        count += len(events)
        if count >= wanted:
            done.set()


arguments = {"on_event_batch": on_event_batch, "starting_position": "-1", "max_batch_size": 1000}
threading.Thread(target=client.receive_batch, kwargs=arguments, daemon=True).start()
complete = done.wait(120)
rate = count / (time.monotonic() - began) if began else 0
client.close()
if not complete:
    sys.exit(f"{count} of {wanted} events came")
print(f"{rate:.0f}")
