"""Write tests/chart/schemas/custom_resources.json: what clusters take of the custom resources in use here.

The packages of npm that are named below are made from the operators' own Go types, with every limit that
is written beside a field, but hold compiled validators instead of schemas. Those are regular enough to be
read back: one function a schema, one call a property. Rules in CEL are not among them. Needed: npm, which
only fetches; nothing of the packages is run.
"""

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate.utils as kubernetes

TARGET = Path(__file__).parents[1] / "tests" / "chart" / "schemas" / "custom_resources.json"
#: SHA-256 by name and version.
PACKAGES = {
    "prometheus-operator@6.0.0": "e92402ebff400ea1ca5fe60546554841ab6f5986b317f3f0d4cb756dc88fbd37",
    "gateway-api@2.0.0": "505c284b74d2f71803803543816abe3fe58e4b0ec6d98f3bd4989726d469b81b",
    "external-secrets@2.0.0": "c1202c6a6caa54afedb4208c1216992b6fcb36cf7623637e0e4a98b70f23ea77",
    "cloudnative-pg@2.0.0": "c4bec78c5a487c2e7c9da29fbbf408e714414e87726af92d14c0590c07019417",
    "keda@2.0.0": "825e7b45dfd9da8dfdfd838a6d31e2e180c8491c8e493c3822f9123e49ceffef",
}
MONITORING = "ComGithubPrometheusOperatorPrometheusOperatorPkgApisMonitoringV1"
SECRETS = "ComGithubExternalSecretsExternalSecretsApisExternalsecretsV1"
POSTGRESQL = "ComGithubCloudnativePgCloudnativePgApiV1"
#: Kinds by the name that the schemas have for them.
ROOTS = {
    **{kind: MONITORING + kind for kind in ("PodMonitor", "PrometheusRule", "ServiceMonitor")},
    **{kind: SECRETS + kind for kind in ("ExternalSecret", "SecretStore")},
    **{kind: POSTGRESQL + kind for kind in ("Cluster", "Pooler", "ScheduledBackup")},
    "ScaledObject": "ComGithubKedacoreKedaV2ApisKedaV1alpha1ScaledObject",
    "HTTPRoute": "IoK8sSigsGatewayApiApisV1HTTPRoute",
}
#: The plugins of SecretStore: of some forty those that are used.
PROVIDERS = {"kubernetes", "vault"}
#: Of CloudNativePG's plugin Barman Cloud, which is in no package, but most of it is CloudNativePG's.
BARMAN = "ComGithubCloudnativePgBarmanCloudPkgApiBarmanObjectStoreConfiguration"
OBJECT_STORE = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "barmancloud.cnpg.io/v1"},
        "kind": {"const": "ObjectStore"},
        "metadata": {},
        "spec": {
            "type": "object",
            "required": ["configuration"],
            "properties": {
                "configuration": {"$ref": f"#/$defs/{BARMAN}"},
                "retentionPolicy": {"type": "string", "pattern": "^[1-9][0-9]*[dwm]$"},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
#: Of Sloth, which is in no package either: what a PrometheusServiceLevel of its API v1 has, without plugins.
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
QUERY = {"type": "string", "pattern": r"\{\{ *\.window *\}\}"}
ALERT = {
    "type": "object",
    "properties": {"disable": {"type": "boolean"}, "labels": STRINGS, "annotations": STRINGS},
    "additionalProperties": False,
}
SERVICE_LEVEL = {
    "type": "object",
    "required": ["name", "objective", "sli", "alerting"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]$", "maxLength": 128},
        "description": {"type": "string"},
        "objective": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
        "labels": STRINGS,
        "sli": {
            "type": "object",
            "required": ["events"],
            "properties": {
                "events": {
                    "type": "object",
                    "required": ["errorQuery", "totalQuery"],
                    "properties": {"errorQuery": QUERY, "totalQuery": QUERY},
                    "additionalProperties": False,
                }
            },
            "additionalProperties": False,
        },
        "alerting": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "labels": STRINGS,
                "annotations": STRINGS,
                "pageAlert": ALERT,
                "ticketAlert": ALERT,
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
PROMETHEUS_SERVICE_LEVEL = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "sloth.slok.dev/v1"},
        "kind": {"const": "PrometheusServiceLevel"},
        "metadata": {},
        "spec": {
            "type": "object",
            "required": ["service"],
            "properties": {
                "service": {"type": "string", "pattern": "^[A-Za-z0-9][-A-Za-z0-9_.]*[A-Za-z0-9]$"},
                "labels": STRINGS,
                "slos": {"type": "array", "minItems": 1, "items": SERVICE_LEVEL},
            },
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
#: Where Kubernetes's own types are looked up when a document is checked.
BUILT_IN = "https://kubernetes.io/api/_definitions.json#/$defs/"

Schema = dict[str, Any]

FUNCTION = re.compile(r"function (validate\d+)\(data,")
CALL = re.compile(r'(validate\d+)\(data(?:(\[i\d+\])|(\[key\d+\])|\.(\w+)|\["([^"]+)"\])?,\{instancePath')
IMPORT = re.compile(r'import\{validate as (validate\d+)\}from"[^"]*/(\w+?)(?:\.js)?"')
CONSTANT = re.compile(r"let (\w+)=(\[.*?\]);")
FAULT = re.compile(r'keyword:"(\w+)",params:\{(.*?)\}\};null')


def fetched(folder: Path) -> dict[str, str]:
    """The text of each validator by its name."""
    texts = {}
    for package, digest in PACKAGES.items():
        command = [
            "npm",
            "pack",
            "--silent",
            "--pack-destination",
            str(folder),
            f"@kubernetes-models/{package}",
        ]
        name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise SystemExit(f"{package} is not what it was")
        with tarfile.open(folder / name) as archive:
            for member in archive.getmembers():
                path = Path(member.name)
                if path.suffix == ".js" and path.parent.name == "_schemas":
                    texts[path.stem] = archive.extractfile(member).read().decode()  # type: ignore[union-attr]
    return texts


@cache
def built_in() -> dict[str, Schema]:
    """Kubernetes's own types."""
    version = "1.37"
    [full] = {each for each in kubernetes.all_versions() if each.startswith(f"{version}.")}
    file = f"kubernetes-json-schema/v{full}-local-strict/_definitions.json"
    found: dict[str, Schema] = kubernetes.schema_contents(file, version)["$defs"]
    return found


class Reader:
    """Reads validators back into schemas, those that are asked for and what they refer to."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts
        self.found: dict[str, Schema] = {}

    def reference(self, name: str) -> Schema:
        if name not in self.texts:
            [known] = [each for each in built_in() if re.sub(r"\W", "", each).lower() == name.lower()]
            return {} if known.endswith(".JSON") else {"$ref": BUILT_IN + known}
        self.read(name)
        return {"$ref": f"#/$defs/{name}"}

    def read(self, name: str) -> None:
        if name in self.found:
            return
        self.found[name] = {}
        text = self.texts[name]
        _, *parts = FUNCTION.split(text)
        bodies = dict(zip(parts[::2], parts[1::2], strict=True))
        constants = {key: json.loads(value) for key, value in CONSTANT.findall(text)}
        imports = dict(IMPORT.findall(text))
        [main] = re.findall(r"export const validate=(validate\d+);", text)

        def schema(function: str) -> Schema:
            if function in imports:
                return self.reference(imports[function])
            found: Schema = dict(limits(bodies[function], constants))
            for called, item, value, plain, quoted in CALL.findall(bodies[function]):
                if item:
                    found["items"] = schema(called)
                elif value:
                    found["additionalProperties"] = schema(called)
                elif plain or quoted:
                    found.setdefault("properties", {})[plain or quoted] = schema(called)
                else:
                    found.setdefault("allOf", []).append(schema(called))
            return self.closed(found)

        self.found[name] = schema(main)

    def closed(self, found: Schema) -> Schema:
        """With the properties of what is embedded, and no others."""
        embedded = found.get("allOf", [])
        if "properties" not in found:
            return embedded[0] if len(embedded) == 1 and found.keys() <= {"allOf", "type"} else found
        for each in embedded:
            other = (self.found | built_in())[each["$ref"].rpartition("/")[2]]
            found["properties"] = other.get("properties", {}) | found["properties"]
            found["required"] = sorted({*found.get("required", []), *other.get("required", [])})
        if found["properties"].keys() >= PROVIDERS:
            found["properties"] = {
                name: each for name, each in found["properties"].items() if name in PROVIDERS
            }
        return {**{key: each for key, each in found.items() if key != "allOf"}, "additionalProperties": False}


def limits(body: str, constants: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a function says that it misses."""
    required = []
    for keyword, given in FAULT.findall(body):
        value = given.rpartition("limit:")[2] if "limit:" in given else given.partition(":")[2]
        if keyword == "required":
            required.append(json.loads(value))
        elif keyword == "pattern":
            # Go and Python write flags in different places.
            pattern = json.loads(value)
            yield keyword, ("(?i)" if "(?i)" in pattern else "") + pattern.replace("(?i)", "")
        elif keyword != "format":
            yield keyword, constants[value] if value in constants else json.loads(value)
    if required:
        yield "required", sorted(required)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(fetched(Path(folder)))
    for name in (*ROOTS.values(), BARMAN):
        reader.read(name)
        # Only the operators write it.
        reader.found[name]["properties"].pop("status", None)
    written = {"ObjectStore": OBJECT_STORE, "PrometheusServiceLevel": PROMETHEUS_SERVICE_LEVEL}
    roots = ROOTS | {kind: kind for kind in written}
    reader.found |= written
    kept: dict[str, Schema] = {}
    waiting = [*roots.values()]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = reader.found[name]
            waiting += re.findall(r'"#/\$defs/(\w+)"', json.dumps(kept[name]))
    head = {
        "$comment": "Written by tools/custom_resources.py; README.md says whose it is.",
        "from": [f"@kubernetes-models/{package}" for package in PACKAGES],
        "kinds": {kind: f"#/$defs/{name}" for kind, name in sorted(roots.items())},
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    types = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(kept.items())]
    TARGET.write_text("{\n" + ",\n".join(lines) + ',\n"$defs": {\n' + ",\n".join(types) + "\n}}\n")


if __name__ == "__main__":
    main()
