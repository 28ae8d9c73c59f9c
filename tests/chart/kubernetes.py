"""Kubernetes' own schemas, strict, and those of the custom resources that are used here."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate.utils as published
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

SCHEMAS: Final = Path(__file__).parent / "schemas"
#: Made from the operators' own types; the README beside it says how.
CUSTOM: Final = "custom_resources.json"
#: The oldest and the newest version that the chart supports; Chart.yaml names the first.
VERSIONS: Final = ("1.32", "1.37")


def faults(document: dict[str, Any], version: str) -> list[str]:
    """What is wrong with an object, with where."""
    kind, api_version = document["kind"], document["apiVersion"]
    validator = (_custom if _is_custom(api_version) else _built_in)(kind, api_version, version)
    name = f"{document['kind']} {document['metadata']['name']}"
    return [
        f"{name}: {'.'.join(map(str, fault.absolute_path))}: {fault.message}"
        for fault in validator.iter_errors(document)
    ]


@cache
def _built_in(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    group = api_version.replace("/", "-").replace(".k8s.io", "").replace("rbac.authorization", "rbac")
    folder = f"v{_full(version)}-local-strict"
    schema = published.schema_contents(
        f"kubernetes-json-schema/{folder}/{kind.lower()}-{group}.json", version
    )
    return jsonschema.Draft202012Validator(schema, registry=_definitions(folder, version))


@cache
def _custom(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    """Of what the operators' own types say; it refers to Kubernetes's."""
    found = custom_resources()
    types = Resource.from_contents(found, default_specification=DRAFT202012)
    registry = _definitions(f"v{_full(version)}-local-strict", version).with_resource(CUSTOM, types)
    return jsonschema.Draft202012Validator({"$ref": CUSTOM + found["kinds"][kind]}, registry=registry)


@cache
def custom_resources() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / CUSTOM).read_text())
    return found


def _full(version: str) -> str:
    full: str
    [full] = {each for each in published.all_versions() if each.startswith(f"{version}.")}
    return full


def _is_custom(api_version: str) -> bool:
    group = api_version.rpartition("/")[0]
    return "." in group and (not group.endswith(".k8s.io") or group == "gateway.networking.k8s.io")


@cache
def _definitions(folder: str, version: str) -> Registry[Any]:
    contents = published.schema_contents(f"kubernetes-json-schema/{folder}/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


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
