"""Builds and runs the services of docker-compose.yml with buildah: no daemon, no base image.

The images are those of the Dockerfile. What its first stage would compile is handed in as that
stage's files, so that only the stages from `scratch` are built. Containers share this machine's
network; every port is a free one, and `emulator` is a name of loopback.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import yaml

DOCKERFILE = "emulator/Dockerfile"
BINARIES = ("iothub-emulator", "simulated-device", "backend-application")
LARGEST = 12 * 1024 * 1024  # of the emulator's image, as a warning: targets, not a gate
READY_WITHIN = 10  # seconds
STOPPED_WITHIN = 1  # second


def main() -> None:
    binaries, scratch = (pathlib.Path(argument).absolute() for argument in sys.argv[1:])
    services = check(yaml.safe_load(pathlib.Path("docker-compose.yml").read_text("utf-8")))
    with Buildah(scratch) as buildah:
        build(buildah, services, binaries, scratch)
        run(buildah, services, scratch)


# --- the compose file ---------------------------------------------------------------------------


def check(compose: dict) -> dict:
    """The services, wired as they have to be."""
    services = compose["services"]
    stages = [
        line.split()[-1]
        for line in pathlib.Path(DOCKERFILE).read_text("utf-8").splitlines()
        if line.startswith("FROM scratch AS ")
    ]
    expect(stages[-1] == "emulator", f"the last stage is the emulator's: {stages}")
    for name, service in services.items():
        if (image := service.get("build")) is not None:
            expect(image["dockerfile"] == DOCKERFILE, f"{name} is built from {DOCKERFILE}")
            expect(image["target"] in stages, f"{name} is a stage of {stages}")
        for other, wiring in service.get("depends_on", {}).items():
            expect(other in services, f"{name} depends on a service: {other}")
            if other == "emulator":
                expect(wiring["condition"] == "service_healthy", f"{name} waits for health")
        for volume in service.get("volumes", []):
            expect(volume.split(":")[0] in compose["volumes"], f"{name}: {volume} is declared")
    emulator = services["emulator"]
    health = ["CMD", "/iothub-emulator", "healthcheck"]
    expect(emulator["healthcheck"]["test"] == health, "the emulator asks itself for its health")
    inside = sorted(int(port.split(":")[-1]) for port in emulator["ports"])
    expect(inside == [443, 1883, 5671, 5672, 8080, 8883], f"the emulator's ports: {inside}")
    for name in ("simulated-device", "backend-application"):
        expect("emulator" in services[name]["depends_on"], f"{name} depends on the emulator")
    print(f"docker-compose.yml: {', '.join(services)}")
    return services


def expect(condition: bool, what: str) -> None:
    if not condition:
        sys.exit(f"containers: expected: {what}")


# --- images and containers ----------------------------------------------------------------------


class Buildah:
    """buildah with a store of its own, and the processes that it runs."""

    def __init__(self, scratch: pathlib.Path) -> None:
        self.base = [
            "buildah",
            f"--root={scratch}/storage",
            f"--runroot={scratch}/run",
            "--storage-driver=vfs",
        ]
        self.containers: dict[str, str] = {}

    def __enter__(self) -> "Buildah":
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*self.base, "rm", "--all"], stdout=subprocess.DEVNULL, check=False)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self.base, *arguments], stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    def container(self, service: str, image: str) -> None:
        container = self("from", "--add-host=emulator:127.0.0.1", image)
        # Where an image declares a volume, buildah mounts one of its own over any that it is given.
        self("config", "--volume=/data-", container)
        self.containers[service] = container

    def command(self, service: str, entry: str, arguments: list, environment: dict,
                volumes: list) -> list:
        return [
            *self.base, "run", "--isolation=chroot",
            *(f"--env={name}={value}" for name, value in environment.items()),
            *(f"--volume={volume}" for volume in volumes),
            self.containers[service], "--", entry, *map(str, arguments),
        ]


def build(buildah: Buildah, services: dict, binaries: pathlib.Path, scratch: pathlib.Path) -> None:
    stage = scratch / "stage"
    (stage / "out/data").mkdir(parents=True)
    for binary in BINARIES:
        shutil.copy2(binaries / binary, stage / "out")
    for name, service in services.items():
        if "build" not in service:
            continue
        target = service["build"]["target"]
        buildah("build", "--quiet", "--isolation=chroot", "--format=docker", "--ignorefile=/dev/null",
                f"--build-context=build={stage}", f"--file={DOCKERFILE}", f"--target={target}",
                f"--tag={service['image']}", str(stage))
        image = json.loads(buildah("inspect", "--type=image", service["image"]))
        config = image["OCIv1"]["config"]
        expect(config["User"] not in ("", "0", "root", "0:0"), f"{name} is not root")
        binary = stage / "out" / pathlib.Path(config["Entrypoint"][0]).name
        size = binary.stat().st_size
        print(f"image {service['image']}: {size / 1e6:.1f} MB")
        if name == "emulator" and size > LARGEST:
            print(f"  larger than the target of {LARGEST / 1e6:.1f} MB")
    image = json.loads(buildah("inspect", "--type=image", services["emulator"]["image"]))
    health = image["Docker"]["config"]["Healthcheck"]["Test"]
    expect(health == services["emulator"]["healthcheck"]["test"], f"the image's health: {health}")
    ports = set(image["OCIv1"]["config"]["ExposedPorts"])
    expect(ports == {
        "8883/tcp",
        "1883/tcp",
        "5671/tcp",
        "5672/tcp",
        "443/tcp",
        "8080/tcp",
    }, f"exposed ports: {ports}")


# --- the run ------------------------------------------------------------------------------------


def run(buildah: Buildah, services: dict, scratch: pathlib.Path) -> None:
    volume = scratch / "data"
    volume.mkdir()
    os.chown(volume, 65532, 65532)
    # The scratch directory is its owner's alone; a container's user has to reach the volume.
    scratch.chmod(0o711)
    for name, service in services.items():
        buildah.container(name, service["image"])

    def command(name: str, extra: dict) -> list:
        service = services[name]
        entry = "/" + ("iothub-emulator" if service["image"] == "iothub-emulator" else name)
        environment = {**service.get("environment", {}), **extra}
        return buildah.command(name, entry, service.get("command", []), environment,
                               [f"{volume}:/data"])

    ready = volume / "ready.json"
    ports = {f"IOTHUB_EMULATOR_{name}_PORT": 0 for name in ("MQTTS", "MQTT", "HTTPS", "HTTP")}
    settings = {**image_environment(buildah, services), **ports,
                "IOTHUB_EMULATOR_READY_FILE": "/data/ready.json"}

    def healthcheck(port: int) -> int:
        ask = buildah.command("emulator", "/iothub-emulator", ["healthcheck"],
                              {"IOTHUB_EMULATOR_HEALTH_ADDRESS": f"127.0.0.1:{port}"}, [])
        return subprocess.run(ask, stderr=subprocess.DEVNULL, check=False).returncode

    expect(healthcheck(9) != 0, "nothing is healthy before it runs")
    began = time.monotonic()
    with running(command("emulator", settings), scratch / "emulator.log") as emulator:
        wait(lambda: ready.exists() or emulator.poll() is not None, READY_WITHIN, "ready")
        expect(emulator.poll() is None, f"it runs: {(scratch / 'emulator.log').read_text()}")
        info = json.loads(ready.read_text("utf-8"))
        expect(healthcheck(info["ports"]["http"]) == 0, "the emulator is healthy")
        print(f"emulator: healthy {time.monotonic() - began:.1f} s after its container was started")

        url = {"IOTHUB_EMULATOR_URL": f"http://emulator:{info['ports']['http']}"}
        subprocess.run(command("register-device", url), check=True, stdout=subprocess.DEVNULL)
        print("register-device: done")
        device = command("simulated-device", {"IOTHUB_MQTTS_PORT": info["ports"]["mqtts"]})
        backend = command("backend-application", {"IOTHUB_HTTPS_PORT": info["ports"]["https"]})
        with running(device, scratch / "device.log"):
            answer = subprocess.run(backend, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
        print(answer.stdout, end="")
        if answer.returncode != 0:
            print((scratch / "emulator.log").read_text(), (scratch / "device.log").read_text())
            sys.exit("containers: the back-end application failed")

        began = time.monotonic()
        os.kill(info["pid"], signal.SIGTERM)
        emulator.wait(timeout=10)
        took = time.monotonic() - began
        # Its container ends a little after the process does.
        expect(took < STOPPED_WITHIN + 1, f"SIGTERM ends it within a second, not {took:.1f} s")
        expect(emulator.returncode == 0, f"it ends well, not with {emulator.returncode}")
        print(f"emulator: ended {took:.1f} s after SIGTERM")


def image_environment(buildah: Buildah, services: dict) -> dict:
    """What the image sets, checked: without it nobody outside a container reaches the hub."""
    image = json.loads(buildah("inspect", "--type=image", services["emulator"]["image"]))
    environment = dict(entry.split("=", 1) for entry in image["OCIv1"]["config"]["Env"])
    expect(environment["IOTHUB_EMULATOR_LISTEN"] == "0.0.0.0,::", "it listens everywhere")
    return {name: value for name, value in environment.items() if name.startswith("IOTHUB")}


@contextlib.contextmanager
def running(command: list, log: pathlib.Path):
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=20)


def wait(done, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        expect(time.monotonic() < end, f"{what} within {seconds} s")
        time.sleep(0.02)


main()
