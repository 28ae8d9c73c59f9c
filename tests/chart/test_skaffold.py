"""skaffold.yaml: each profile, put together as Skaffold does, names only what is there."""

import copy
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart import kubernetes
from tests.chart.chart import ENVIRONMENTS, REPOSITORY, Case, Json, documents, one, pods, template
from tests.chart.restricted import violations

SKAFFOLD = REPOSITORY / "skaffold.yaml"
DEPENDENCIES, TRADEPOST = documents(SKAFFOLD)
#: Of this checkout alone: `make prod-like-secrets` writes it.
SECRETS = "build/prod-like-secrets.yaml"
#: As they are activated: `dev` by its command, also beside a profile that is named.
ACTIVATED = {
    "none": (),
    "dev": ("dev",),
    "debugger": ("dev", "debugger"),
    "prod-like": ("prod-like",),
    "ci": ("ci",),
}


def patched(config: Json, patch: Json) -> None:
    """By RFC 6902, as far as it is used."""
    *steps, last = [int(step) if step.isdigit() else step for step in patch["path"].split("/")[1:]]
    inner: Any = config
    for step in steps:
        inner = inner[step]
    if patch["op"] == "remove":
        del inner[last]
    elif last == "-":
        inner.append(patch["value"])
    else:
        inner[last] = patch["value"]


def configured(name: str) -> Json:
    config = copy.deepcopy({key: value for key, value in TRADEPOST.items() if key != "profiles"})
    for profile in TRADEPOST["profiles"]:
        if profile["name"] in ACTIVATED[name]:
            for patch in profile["patches"]:
                patched(config, copy.deepcopy(patch))
    return config


@cache
def values_file(name: str) -> Path:
    """A file of values; that of the secrets of prod-like is made as `make prod-like-secrets` does."""
    if name != SECRETS:
        return REPOSITORY / name
    file = Path(tempfile.mkdtemp()) / "secrets.yaml"
    subprocess.run(
        [sys.executable, "tools/prod_like_secrets.py", file], cwd=REPOSITORY, check=True, timeout=60
    )
    return file


@cache
def rendered(name: str) -> list[Json]:
    [release] = configured(name)["deploy"]["helm"]["releases"]
    done = template("3", Case(tuple(map(values_file, release["valuesFiles"])), release["name"]))
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(params=ACTIVATED)
def profile(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class TestFile:
    @pytest.mark.parametrize(
        "config", [DEPENDENCIES, TRADEPOST], ids=lambda config: config["metadata"]["name"]
    )
    def test_it_follows_the_schema(self, config: Json) -> None:
        jsonschema.Draft202012Validator(kubernetes.own_schema("skaffold_v4beta14")).validate(config)

    def test_so_does_every_profile(self, profile: str) -> None:
        jsonschema.Draft202012Validator(kubernetes.own_schema("skaffold_v4beta14")).validate(
            configured(profile)
        )

    def test_a_mistake_is_found(self) -> None:
        wrong = {**TRADEPOST, "portForwards": []}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(kubernetes.own_schema("skaffold_v4beta14")).validate(wrong)

    def test_it_names_files_that_are_there(self, profile: str) -> None:
        config = configured(profile)
        [release], [artifact], [test] = (
            config["deploy"]["helm"]["releases"],
            config["build"]["artifacts"],
            config["verify"],
        )
        files = [*release["valuesFiles"], release["chartPath"], artifact["docker"]["dockerfile"]]
        files += [
            test["executionMode"]["kubernetesCluster"]["jobManifestPath"],
            *DEPENDENCIES["manifests"]["rawYaml"],
        ]
        made = [SECRETS] if profile in {"prod-like", "ci"} else []
        assert [file for file in files if not file.startswith(("k8s/", "charts/", "Dockerfile"))] == made
        assert [file for file in files if file not in made and not (REPOSITORY / file).exists()] == []

    def test_what_the_chart_stands_on_comes_first(self) -> None:
        assert TRADEPOST["requires"] == [{"configs": ["dependencies"]}]
        files = DEPENDENCIES["manifests"]["rawYaml"]
        assert set(files) == {
            str(file.relative_to(REPOSITORY)) for file in REPOSITORY.glob("k8s/dependencies/*.yaml")
        }
        assert files[0] == "k8s/dependencies/namespace.yaml"


class TestProfiles:
    def test_production_takes_no_secret_of_development(self) -> None:
        """`prod-like` runs as production does, which refuses what is published."""
        for name in ("prod-like", "ci"):
            own, published = (one(rendered(each), "Secret", "tradepost")["data"] for each in (name, "none"))
            assert {key for key in own if own[key] == published[key]} == {
                "ADMIN_EMAIL", "DATABASE_URL", "SMTP_URL"
            }  # fmt: skip

    def test_each_renders_and_is_let_into_the_namespace(self, profile: str) -> None:
        writes = "dev" in ACTIVATED[profile]
        wrong = {name: violations(pod, writes=writes) for name, pod in pods(rendered(profile))}
        assert {name: each for name, each in wrong.items() if each} == {}

    def test_each_has_the_image_that_was_built(self, profile: str) -> None:
        config = configured(profile)
        [release], [artifact] = config["deploy"]["helm"]["releases"], config["build"]["artifacts"]
        assert artifact["image"] == "tradepost"
        assert release["setValueTemplates"] == {
            "image.repository": "{{.IMAGE_REPO_tradepost}}",
            "image.tag": "{{.IMAGE_TAG_tradepost}}",
        }

    def test_only_development_has_a_tree_that_can_be_written(self, profile: str) -> None:
        [artifact] = configured(profile)["build"]["artifacts"]
        writing = "dev" in ACTIVATED[profile]
        assert (artifact["docker"].get("target") == "dev", "sync" in artifact) == (writing, writing)
        for _, pod in pods(rendered(profile)):
            [container] = pod["spec"]["containers"]
            assert container["securityContext"]["readOnlyRootFilesystem"] is not writing

    def test_development_syncs_the_code_to_where_the_image_has_it(self) -> None:
        [artifact] = configured("dev")["build"]["artifacts"]
        [sync] = artifact["sync"]["manual"]
        assert sync == {"src": "service/**/*.py", "dest": "/app"}
        dockerfile = (REPOSITORY / "Dockerfile").read_text()
        assert re.search(r"^FROM \w+ AS dev$", dockerfile, re.MULTILINE)
        assert re.search(r"^COPY service /app/service$", dockerfile, re.MULTILINE)
        assert re.search(r"chown -R 10001:10001 /app$", dockerfile, re.MULTILINE)
        [worker] = one(rendered("dev"), "Deployment", "-worker")["spec"]["template"]["spec"]["containers"]
        assert worker["args"][-1] == f"{sync['dest']}/service"

    def test_development_has_one_worker_process(self) -> None:
        [api] = one(rendered("dev"), "Deployment", "tradepost")["spec"]["template"]["spec"]["containers"]
        assert {"name": "WEB_CONCURRENCY", "value": "1"} in api["env"]

    def test_a_debugger_finds_its_port(self) -> None:
        [api] = one(rendered("debugger"), "Deployment", "tradepost")["spec"]["template"]["spec"]["containers"]
        forwarded = {each["port"] for each in configured("debugger")["portForward"]}
        assert "0.0.0.0:5678" in api["command"]
        assert api["args"] == ["-m", "service", "serve"]
        assert 5678 in forwarded

    def test_ports_lead_to_services(self, profile: str) -> None:
        dependencies = [
            each for file in DEPENDENCIES["manifests"]["rawYaml"] for each in documents(REPOSITORY / file)
        ]
        known = {
            (each["metadata"]["name"], port["port"])
            for each in [*rendered(profile), *dependencies]
            if each["kind"] == "Service"
            for port in each["spec"]["ports"]
        }
        forwarded = configured(profile).get("portForward", [])
        assert {
            (each["resourceName"], each["port"]) for each in forwarded if each["resourceType"] == "service"
        } <= known
        assert bool(forwarded) == (profile != "ci")

    def test_values_are_those_of_k8s(self, profile: str) -> None:
        [release] = configured(profile)["deploy"]["helm"]["releases"]
        assert {Path(file).parent for file in release["valuesFiles"] if file != SECRETS} == {
            ENVIRONMENTS.relative_to(REPOSITORY)
        }


class TestVerify:
    def test_it_runs_the_smoke_test_against_the_service(self, profile: str) -> None:
        [test] = configured(profile)["verify"]
        [release] = configured(profile)["deploy"]["helm"]["releases"]
        service = one([each for each in rendered(profile) if each["kind"] == "Service"], "Service")
        name = f"{service['metadata']['name']}.{release['namespace']}"
        assert test["container"]["args"] == ["smoke", "--url", f"http://{name}"]
        assert service["spec"]["ports"][0]["port"] == 80
        assert "> /app/venv/bin/tradepost" in (REPOSITORY / "Dockerfile").read_text()
        assert test["container"]["command"] == ["/app/venv/bin/tradepost"]

    def test_its_job_is_not_root(self) -> None:
        [job] = documents(REPOSITORY / "k8s" / "verify.yaml")
        spec = job["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 10001
