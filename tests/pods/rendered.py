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


def containers(values: Mapping[str, Any], folder: Path) -> dict[str, Container]:
    """What `helm template` with these values would have a cluster run, by the container's name."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    done = run("4", "template", RELEASE, chart.CHART, "--namespace", NAMESPACE, "-f", file)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    found = [_container(pod["spec"], objects) for _, pod in pods(objects)]
    return {container.name: container for container in found}


def _container(spec: Json, objects: list[Json]) -> Container:
    [container] = spec["containers"]
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
        else:
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
