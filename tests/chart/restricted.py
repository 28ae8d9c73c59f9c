"""Pod Security `restricted`, and what this project asks of a pod beyond it."""

from typing import Any

VOLUMES = {
    "configMap",
    "emptyDir",
    "secret",
    "persistentVolumeClaim",
    "projected",
    "downwardAPI",
    "csi",
    "ephemeral",
}
FORBIDDEN = ("hostNetwork", "hostPID", "hostIPC")


def violations(pod: dict[str, Any], *, writes: bool = False) -> list[str]:
    """What a `restricted` namespace would refuse; unless it `writes`, a root that is not read-only too."""
    spec = pod["spec"]
    whole = spec.get("securityContext", {})
    wrong = [key for key in FORBIDDEN if spec.get(key)]
    wrong += [f"volume {each['name']}" for each in spec.get("volumes", []) if not VOLUMES & each.keys()]
    if not (
        whole.get("runAsNonRoot") is True and whole.get("runAsUser", 0) > 0 and whole.get("runAsGroup", 0) > 0
    ):
        wrong.append("runs as root")
    if whole.get("seccompProfile") != {"type": "RuntimeDefault"}:
        wrong.append("seccompProfile")
    if spec.get("automountServiceAccountToken") is not False or spec.get("enableServiceLinks") is not False:
        wrong.append("token or service links")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        wrong += [f"{container['name']}: {each}" for each in _of_container(container, writes=writes)]
    return wrong


def _of_container(container: dict[str, Any], *, writes: bool) -> list[str]:
    context, resources = container.get("securityContext", {}), container.get("resources", {})
    held = {
        "privilege escalation": context.get("allowPrivilegeEscalation") is False,
        "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
        "privileged": not context.get("privileged"),
        "read-only root": writes or context.get("readOnlyRootFilesystem") is True,
        "identity of its own": not {"runAsUser", "runAsNonRoot", "seccompProfile", "procMount"}
        & context.keys(),
        "host port": not any("hostPort" in port for port in container.get("ports", [])),
        "requests": {"cpu", "memory"} <= resources.get("requests", {}).keys(),
        "limits": set(resources.get("limits", {})) == {"memory"},
    }
    return [name for name, holds in held.items() if not holds]
