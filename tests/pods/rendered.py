"""A pod as the chart renders it: what its container runs, with which environment, files and folders."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart import chart
from tests.chart.chart import Json, mounted, of_kind, pods, run

RELEASE: Final = "shop"
NAMESPACE: Final = "tradepost"


@dataclass(frozen=True)
class Probe:
    path: str
    port: int
    period: int
    failures: int
    timeout: int


@dataclass(frozen=True)
class Container:
    """`secrets` are files by their path, `folders` the emptyDirs' paths."""

    name: str
    command: list[str]
    args: list[str]
    environment: dict[str, str]
    secrets: dict[Path, bytes]
    folders: list[Path]
    user: int
    group: int
    read_only: bool
    pre_stop: list[str] | None
    grace_seconds: int
    probes: dict[str, Probe] = field(default_factory=dict)


def containers(values: Mapping[str, Any], folder: Path, *others: Json) -> dict[str, Container]:
    """What `helm template` with these values would have a cluster run, by the container's name.

    `others` are objects that the chart does not make, such as Secrets of the operator's: pods that wait for
    one that is not there are left out.
    """
    objects = _objects(values, folder, *others)
    found = [
        _container(pod["spec"], container, objects)
        for _, pod in pods(objects)
        for container in pod["spec"]["containers"]
        if _named(pod) <= of_kind(objects, "Secret").keys()
    ]
    return {container.name: container for container in found}


def _named(pod: Json) -> set[str]:
    """The Secrets that it has files of."""
    sources = [
        each
        for volume in pod["spec"]["volumes"]
        for each in volume.get("projected", {"sources": []})["sources"]
    ]
    return {source["secret"]["name"] for source in sources}


def steps(values: Mapping[str, Any], folder: Path, cron_job: str, *others: Json) -> list[Container]:
    """The containers that a CronJob's pod runs one after the other, without those that run beside them."""
    objects = _objects(values, folder, *others)
    [spec] = [pod["spec"] for name, pod in pods(objects) if name == f"CronJob {RELEASE}-tradepost-{cron_job}"]
    before = [each for each in spec["initContainers"] if each.get("restartPolicy") != "Always"]
    return [_container(spec, each, objects) for each in [*before, *spec["containers"]]]


def _objects(values: Mapping[str, Any], folder: Path, *others: Json) -> list[Json]:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    done = run("4", "template", RELEASE, chart.CHART, "--namespace", NAMESPACE, "-f", file)
    assert done.returncode == 0, done.stderr
    return [*others, *(each for each in yaml.safe_load_all(done.stdout) if each)]


def _container(spec: Json, container: Json, objects: list[Json]) -> Container:
    security = spec["securityContext"] | container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["allowPrivilegeEscalation"] is False
    # What a failed container has written last is its termination message.
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    secrets: dict[Path, bytes] = {}
    folders = []
    for mount in container["volumeMounts"]:
        volume, path = volumes[mount["name"]], Path(mount["mountPath"])
        if "emptyDir" in volume:
            folders.append(path)
        elif "projected" in volume:
            found = mounted(volume, objects)
            secrets |= {path / name: base64.b64decode(value) for name, value in found.items()}
    return Container(
        name=container["name"],
        command=container.get("command", []),
        args=container.get("args", []),
        environment=_environment(container, objects),
        secrets=secrets,
        folders=folders,
        user=security["runAsUser"],
        group=security["runAsGroup"],
        read_only=security["readOnlyRootFilesystem"],
        pre_stop=container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command"),
        grace_seconds=spec.get("terminationGracePeriodSeconds", 30),
        probes=_probes(container),
    )


def _environment(container: Json, objects: list[Json]) -> dict[str, str]:
    environment: dict[str, str] = {}
    for source in container.get("envFrom", []):
        environment |= of_kind(objects, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for entry in container.get("env", []):
        if "value" in entry:
            environment[entry["name"]] = entry["value"]
            continue
        wanted = entry["valueFrom"]["secretKeyRef"]
        data = of_kind(objects, "Secret")[wanted["name"]]["data"]
        if wanted["key"] in data:
            environment[entry["name"]] = base64.b64decode(data[wanted["key"]]).decode()
        else:
            assert wanted["optional"], f"{entry['name']} comes from a key that is not in the Secret"
    return environment


def _probes(container: Json) -> dict[str, Probe]:
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    return {
        kind: Probe(
            path=probe["httpGet"]["path"],
            port=ports[probe["httpGet"]["port"]],
            period=probe["periodSeconds"],
            failures=probe["failureThreshold"],
            timeout=probe["timeoutSeconds"],
        )
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
        if (probe := container.get(kind))
    }
