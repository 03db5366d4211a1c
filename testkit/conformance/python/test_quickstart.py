"""The quickstart "control a device connected to an IoT hub"."""

import json
import threading

from azure.iot.device import Message, MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod

from hub import LIMIT


class SimulatedDevice:
    """Sends telemetry and lets `SetTelemetryInterval` change how often."""

    def __init__(self, client):
        self.client = client
        self.interval = 1
        self._stop = threading.Event()
        self.client.on_method_request_received = self._answer
        self._thread = threading.Thread(target=self._send_telemetry, daemon=True)
        self.sent_three = threading.Event()

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join(LIMIT)

    def _send_telemetry(self):
        sent = 0
        while not self._stop.is_set():
            body = json.dumps({"temperature": 20 + sent, "humidity": 60 + sent})
            message = Message(body, content_encoding="utf-8", content_type="application/json")
            message.custom_properties["temperatureAlert"] = "true" if sent > 1 else "false"
            self.client.send_message(message)
            sent += 1
            if sent == 3:
                self.sent_three.set()
            self._stop.wait(self.interval / 100)

    def _answer(self, request):
        if request.name != "SetTelemetryInterval":
            status, payload = 404, {"result": f"unknown method {request.name}"}
        else:
            try:
                self.interval = int(request.payload)
                status, payload = 200, {"result": f"interval is {self.interval}"}
            except (TypeError, ValueError):
                status, payload = 400, {"result": "invalid parameter"}
        response = MethodResponse.create_from_method_request(request, status, payload)
        self.client.send_method_response(response)


def test_back_end_controls_the_device_and_reads_its_telemetry(hub, registry, device):
    simulated = SimulatedDevice(device.connect())
    simulated.start()

    def invoke(name, payload):
        method = CloudToDeviceMethod(
            method_name=name, payload=payload, response_timeout_in_seconds=LIMIT
        )
        result = registry.invoke_device_method(device.id, method)
        return result.status, result.payload

    try:
        assert invoke("SetTelemetryInterval", 2) == (200, {"result": "interval is 2"})
        assert invoke("SetTelemetryInterval", "often") == (400, {"result": "invalid parameter"})
        assert invoke("Reboot", None) == (404, {"result": "unknown method Reboot"})
        assert simulated.interval == 2
        assert simulated.sent_three.wait(LIMIT)
    finally:
        simulated.stop()

    first, second, third = hub.events(device.id)[:3]
    assert json.loads(first["body"]) == {"temperature": 20, "humidity": 60}
    assert first["applicationProperties"] == {"temperatureAlert": "false"}
    assert json.loads(third["body"]) == {"temperature": 22, "humidity": 62}
    assert third["applicationProperties"] == {"temperatureAlert": "true"}
    assert first["sequenceNumber"] < second["sequenceNumber"] < third["sequenceNumber"]
