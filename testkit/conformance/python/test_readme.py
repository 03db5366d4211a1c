"""The recipe of the README, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from hub import LIMIT

README = Path(__file__).resolve().parents[3] / "README.md"


def test_telemetry_is_sent_and_read_from_the_built_in_endpoint(hub, device, tmp_path):
    (program,) = re.findall(r"```python\n(# telemetry\.py\n.*?)```", README.read_text(), re.DOTALL)
    script = tmp_path / "telemetry.py"
    script.write_text(program)
    events = hub.connection_strings["events_plain"]

    ran = subprocess.run(
        [sys.executable, script, device.connection_string],
        env={**os.environ, "EVENTHUB_CONNECTION_STRING": events},
        capture_output=True,
        text=True,
        timeout=3 * LIMIT,
    )

    assert ran.returncode == 0, ran.stderr
    lines = [line.split(" ", 3) for line in ran.stdout.splitlines()]
    bodies = [body for _, _, sender, body in lines if sender == device.id]
    assert bodies == [f'{{"temperature": {degrees}}}' for degrees in range(20, 25)]
