"""Kubernetes' own schemas, strict, and those of the custom resources that are used here."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate.utils as published
import yaml
from referencing import Registry, Resource

SCHEMAS: Final = Path(__file__).parent / "schemas"
#: The oldest and the newest version that the chart supports; Chart.yaml names the first.
VERSIONS: Final = ("1.32", "1.37")


def faults(document: dict[str, Any], version: str) -> list[str]:
    """What is wrong with an object, with where."""
    validator = _custom(document) or _built_in(document["kind"], document["apiVersion"], version)
    name = f"{document['kind']} {document['metadata']['name']}"
    return [
        f"{name}: {'.'.join(map(str, fault.absolute_path))}: {fault.message}"
        for fault in validator.iter_errors(document)
    ]


@cache
def _built_in(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    group = api_version.replace("/", "-").replace(".k8s.io", "").replace("rbac.authorization", "rbac")
    [full] = {each for each in published.all_versions() if each.startswith(f"{version}.")}
    folder = f"v{full}-local-strict"
    schema = published.schema_contents(
        f"kubernetes-json-schema/{folder}/{kind.lower()}-{group}.json", version
    )
    return jsonschema.Draft202012Validator(schema, registry=_definitions(folder, version))


@cache
def _definitions(folder: str, version: str) -> Registry[Any]:
    contents = published.schema_contents(f"kubernetes-json-schema/{folder}/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


def _custom(document: dict[str, Any]) -> jsonschema.Draft202012Validator | None:
    group, _, version = document["apiVersion"].partition("/")
    return _own(f"{document['kind'].lower()}_{version}") if group.count(".") and _is_custom(group) else None


def _is_custom(group: str) -> bool:
    return not group.endswith(".k8s.io") or group == "gateway.networking.k8s.io"


@cache
def _own(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(own_schema(name))


def own_schema(name: str) -> dict[str, Any]:
    """A schema of ours, and nothing in it is open that does not say so."""
    schema: dict[str, Any] = yaml.safe_load((SCHEMAS / f"{name}.yaml").read_text())
    return dict(closed(schema))


def closed(schema: Any) -> Any:
    """With `additionalProperties: false` wherever properties are named."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(inner.get("properties"), dict) and "type" in inner:
        inner.setdefault("additionalProperties", False)
    return inner
