"""The chart as Helm renders it: each set of values once a process, by both versions that it is held to."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).parents[2]
CHART: Final = REPOSITORY / "charts" / "tradepost"
VALUES: Final = Path(__file__).parent / "values"
ENVIRONMENTS: Final = REPOSITORY / "k8s" / "environments"
HELMS: Final = ("3", "4")
NAMESPACE: Final = "shop"
MONITORING: Final = "monitoring.coreos.com/v1"
GATEWAY: Final = "gateway.networking.k8s.io/v1"
#: What a cluster may or may not have.
APIS: Final = ((), (MONITORING,), (GATEWAY,), (MONITORING, GATEWAY))

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Files of values, one on top of the other, under the name of a release."""

    files: tuple[Path, ...]
    release: str = "tradepost"


CASES: Final = {
    **{path.stem: Case((path,)) for path in sorted(VALUES.glob("*.yaml"))},
    "long-name": Case((VALUES / "minimal.yaml",), "1.a-very-long-name-of-a-release-with-dots.and-more-it"),
    "digits": Case((VALUES / "minimal.yaml",), "20261122"),
    **{
        name: Case(tuple(ENVIRONMENTS / f"{part}.yaml" for part in parts))
        for name, parts in {
            "environment-dev": ("dev",),
            "environment-dev-reload": ("dev", "dev-reload"),
            "environment-dev-debug": ("dev", "dev-reload", "dev-debug"),
            "environment-prod-like": ("dev", "prod-like"),
            "environment-staging": ("staging",),
            "environment-production": ("production",),
        }.items()
    },
}


def run(major: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    helm = Path(sys.prefix) / "helm" / major / "helm"
    assert helm.exists(), f"{helm} is missing: `make setup` brings it"
    command = [helm, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def template(
    major: str, case: Case, *options: str, apis: Sequence[str] = APIS[-1]
) -> subprocess.CompletedProcess[str]:
    files = [option for file in case.files for option in ("-f", str(file))]
    known = [option for api in apis for option in ("--api-versions", api)]
    return run(major, "template", case.release, CHART, "--namespace", NAMESPACE, *files, *known, *options)


@cache
def rendered(name: str, *options: str, apis: Sequence[str] = APIS[-1], major: str = "4") -> list[Json]:
    """The objects of a case, in a fixed order."""
    done = template(major, CASES[name], *options, apis=apis)
    assert done.returncode == 0, done.stderr
    found = [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]
    return sorted(found, key=lambda each: (each["kind"], each["metadata"]["name"]))


def refused(*options: str, name: str = "minimal", major: str = "4") -> str:
    """What Helm says when it does not render."""
    done = template(major, CASES[name], *options)
    assert done.returncode != 0, "it was rendered"
    return done.stderr


def of_kind(objects: list[Json], kind: str) -> dict[str, Json]:
    """By name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def one(objects: list[Json], kind: str, suffix: str = "") -> Json:
    """The one of a kind whose name ends so."""
    [found] = [each for name, each in of_kind(objects, kind).items() if name.endswith(suffix)]
    return found


def pods(objects: list[Json]) -> Iterator[tuple[str, Json]]:
    """Every pod and template of one, with metadata and spec, by the name of what it is of."""
    for each in objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "Pod":
            yield name, each
        elif each["kind"] in {"Deployment", "Job", "StatefulSet", "DaemonSet"}:
            yield name, each["spec"]["template"]
        elif each["kind"] == "CronJob":
            yield name, each["spec"]["jobTemplate"]["spec"]["template"]


def mounted(volume: Json, objects: list[Json]) -> dict[str, str]:
    """The files that a volume has of Secrets, encoded, as the kubelet would write them."""
    files: dict[str, str] = {}
    for source in volume["projected"]["sources"]:
        secret = source["secret"]
        data = of_kind(objects, "Secret")[secret["name"]]["data"]
        lacking = [item["key"] for item in secret["items"] if item["key"] not in data]
        assert not lacking or secret.get("optional"), f"the pod would wait for {lacking} in {secret['name']}"
        files |= {item["path"]: data[item["key"]] for item in secret["items"] if item["key"] in data}
    return files


def documents(path: Path) -> list[Json]:
    """Those of a file that is no template."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def plain(value: object) -> object:
    """Without what only YAML has."""
    return json.loads(json.dumps(value))
