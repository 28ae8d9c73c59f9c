"""What the API server refuses beyond its schemas: rules between fields, and about names."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

Json = dict[str, Any]

LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
SERVICE: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
PORT: Final = re.compile(r"(?=.{1,15}$)(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]*[a-z0-9])?")
KEY: Final = re.compile(r"([-a-z0-9.]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
FILE: Final = re.compile(r"[-._A-Za-z0-9]{1,253}")
#: Of whatever is put into an object of data, and of all annotations.
MEBIBYTE, QUARTER = 1024 * 1024, 256 * 1024
#: Pods carry the name of what made them as a label, those of a StatefulSet with a hash behind it.
IN_LABELS: Final = {"CronJob": 52, "Job": 63, "StatefulSet": 52}


def refused(document: Json) -> list[str]:
    """Why an object would not be taken, with its name."""
    name = f"{document['kind']} {document['metadata']['name']}"
    return [f"{name}: {fault}" for fault in _faults(document)]


def _faults(document: Json) -> Iterator[str]:
    kind, spec = document["kind"], document.get("spec", {})
    yield from _metadata(document["metadata"], SERVICE if kind == "Service" else SUBDOMAIN)
    if len(document["metadata"]["name"]) > IN_LABELS.get(kind, 253):
        yield "the name is too long for the labels of its pods"
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if kind in {"Deployment", "StatefulSet", "Job", "CronJob"}:
        yield from _metadata(spec["template"].get("metadata", {}), None)
        labels = spec["template"]["metadata"]["labels"]
        if not spec.get("selector", {}).get("matchLabels", {}).items() <= labels.items():
            yield "the selector does not find its own pods"
    if kind in {"Deployment", "StatefulSet", "Job", "CronJob", "Pod"}:
        claims = [each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", [])]
        yield from _pod((spec["template"] if kind != "Pod" else document)["spec"], claims)
    yield from RULES.get(kind, lambda _: ())(document)


def _metadata(metadata: Json, names: re.Pattern[str] | None) -> Iterator[str]:
    if names and not names.fullmatch(metadata["name"]):
        yield "the name"
    for key, value in metadata.get("labels", {}).items():
        if not KEY.fullmatch(key) or not VALUE.fullmatch(value):
            yield f"label {key}"
    annotations = metadata.get("annotations", {})
    yield from (f"annotation {key}" for key in annotations if not KEY.fullmatch(key))
    if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > QUARTER:
        yield "annotations too large"


def _twice(what: str, found: Iterable[Any]) -> Iterator[str]:
    listed = list(found)
    yield from (f"{what} {each} twice" for each in set(listed) if listed.count(each) > 1)


def _pod(spec: Json, claims: list[str]) -> Iterator[str]:
    volumes = [*claims, *(each["name"] for each in spec.get("volumes", []))]
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    yield from _twice("volume", volumes)
    yield from _twice("pull secret", (each["name"] for each in spec.get("imagePullSecrets", [])))
    yield from _twice("host alias", (each["ip"] for each in spec.get("hostAliases", [])))
    if spec.get("dnsPolicy") == "None" and not spec.get("dnsConfig", {}).get("nameservers"):
        yield "dnsPolicy None without name servers"
    yield from _twice("container", (each["name"] for each in containers))
    spread = spec.get("topologySpreadConstraints", [])
    yield from _twice("spread", ((each["topologyKey"], each["whenUnsatisfiable"]) for each in spread))
    yield from (
        f"spread by {each['topologyKey']} without a selector"
        for each in spread
        if not each.get("labelSelector")
    )
    for container in containers:
        yield from (f"{container['name']}: {fault}" for fault in _container(container, volumes))


def _container(container: Json, volumes: list[str]) -> Iterator[str]:
    ports, mounts = container.get("ports", []), container.get("volumeMounts", [])
    named = [port["name"] for port in ports]
    yield from (f"port {name}" for name in named if not PORT.fullmatch(name))
    yield from _twice("port", named)
    yield from _twice("port", ((port["containerPort"], port.get("protocol", "TCP")) for port in ports))
    yield from _twice("variable", (each["name"] for each in container.get("env", [])))
    yield from _twice("mount", (mount["mountPath"] for mount in mounts))
    yield from (f"mount of no volume {each['name']}" for each in mounts if each["name"] not in volumes)
    for probe in (value for key, value in container.items() if key.endswith("Probe")):
        port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
        if isinstance(port, str) and port not in named:
            yield f"probe of no port {port}"
    resources = container.get("resources", {})
    for name, amount in resources.get("limits", {}).items():
        if _bytes(resources.get("requests", {}).get(name, 0)) > _bytes(amount):
            yield f"requests more {name} than its limit"


def _bytes(amount: str | float) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(m|Ki|Mi|Gi|)", str(amount)).groups()  # type: ignore[union-attr]
    return float(number) * {"m": 0.001, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]


def _deployment(document: Json) -> Iterator[str]:
    spec = document["spec"]
    rolling = spec.get("strategy", {}).get("rollingUpdate", {})
    if {str(rolling.get(key, 1)).removesuffix("%") for key in ("maxSurge", "maxUnavailable")} == {"0"}:
        yield "a rollout could not begin"
    if spec.get("minReadySeconds", 0) >= spec.get("progressDeadlineSeconds", 600):
        yield "minReadySeconds exceeds the deadline"


def _cron_job(document: Json) -> Iterator[str]:
    if len(document["spec"]["schedule"].split()) != 5:
        yield "schedule"
    yield from _job({"spec": document["spec"]["jobTemplate"]["spec"]})


def _job(document: Json) -> Iterator[str]:
    pod = document["spec"]["template"]["spec"]
    if pod.get("restartPolicy") not in {"Never", "OnFailure"}:
        yield "restartPolicy"
    policy = document["spec"].get("podFailurePolicy")
    if policy and pod["restartPolicy"] != "Never":
        yield "podFailurePolicy needs restartPolicy Never"
    named = {
        rule["onExitCodes"]["containerName"]
        for rule in (policy or {"rules": []})["rules"]
        if "onExitCodes" in rule
    }
    yield from (
        f"exit codes of no container {name}" for name in named - {each["name"] for each in pod["containers"]}
    )


def _data(document: Json) -> Iterator[str]:
    data = document.get("data", {})
    yield from (f"key {key}" for key in data if not FILE.fullmatch(key))
    if sum(len(value.encode()) for value in data.values()) > MEBIBYTE:
        yield "too large"


def _service(document: Json) -> Iterator[str]:
    ports = document["spec"]["ports"]
    yield from (f"port {each['name']}" for each in ports if not LABEL.fullmatch(each["name"]))
    yield from _twice("port", (each["port"] for each in ports))


def _autoscaler(document: Json) -> Iterator[str]:
    if document["spec"]["minReplicas"] > document["spec"]["maxReplicas"]:
        yield "minReplicas exceeds maxReplicas"


def _scaled_object(document: Json) -> Iterator[str]:
    """KEDA's webhook."""
    spec = document["spec"]
    if spec["minReplicaCount"] > spec["maxReplicaCount"]:
        yield "minReplicaCount exceeds maxReplicaCount"
    yield from _twice("trigger", (each["name"] for each in spec["triggers"] if "name" in each))


RULES: Final = {
    "Deployment": _deployment,
    "CronJob": _cron_job,
    "Job": _job,
    "ConfigMap": _data,
    "Secret": _data,
    "Service": _service,
    "HorizontalPodAutoscaler": _autoscaler,
    "ScaledObject": _scaled_object,
}
