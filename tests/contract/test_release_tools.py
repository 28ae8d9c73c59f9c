"""The scripts of the workflows, as far as they go without a cluster and a registry."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.chart import kubernetes, restricted

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + 64 * "0"


SECRETS = "build/prod-like-secrets.yaml"
CHANGED = "build/end-to-end-secrets.yaml"
PHASES = ("upgrade", "keys", "restarts", "evictions", "password", "scaling", "outages")


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def shown(*arguments: str) -> list[list[str]]:
    """The commands that a tool would run."""
    done = tool(*arguments, "--show")
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("+ ") for line in done.stdout.splitlines() if line.startswith("+ ")]
    return [shlex.split(line) for line in lines]


@pytest.fixture(scope="module", params=["3", "4"])
def commands(request: pytest.FixtureRequest) -> list[list[str]]:
    return shown("tools/end_to_end", "--helm", request.param)


def appear(parts: list[str], commands: list[list[str]]) -> None:
    """In this order, whatever is between them; the last is the end."""
    words, place = [" ".join(command) for command in commands], 0
    for part in parts:
        place = next(at for at in range(place, len(words)) if part in words[at]) + 1
    assert place == len(words), words[place:]


class TestEndToEnd:
    def test_a_cluster_is_made_used_and_removed(self, commands: list[list[str]]) -> None:
        begin = [
            "docker build",
            "kind create cluster",
            "kind load docker-image",
            "upgrade --install",
            " test ",
        ]
        under_load = [
            part
            for name in PHASES
            for part in (f" run load-{name}", f"exec load-{name}", f"logs load-{name}", f"pod load-{name}")
        ]
        appear(
            [*begin, *under_load, " test ", "cronjob/tradepost-verify", "uninstall", "kind delete"], commands
        )

    @pytest.mark.parametrize(
        ("phase", "parts"),
        [
            ("upgrade", ["e2e-2", "LOG_LEVEL=DEBUG", "rollback tradepost 1", "e2e-2"]),
            ("keys", ["upgrade", "upgrade", "sleep 90", "upgrade"]),
            ("restarts", ["rollout restart"] * 5),
            ("evictions", ["delete VALUE", *["drain NODE", "uncordon NODE", "rollout restart"] * 2]),
            ("password", ["CREATE ROLE", "upgrade", "pg_stat_activity", "PASSWORD NULL"]),
            ("scaling", ["api.replicas=3,worker.replicas=3", "api.replicas=2,worker.replicas=2"]),
            ("outages", ["kill -KILL", "--force", "postgresql-0 --grace", "--replicas=0", "--replicas=1"]),
        ],
    )
    def test_a_phase_is_carried_out_under_load(self, phase: str, parts: list[str]) -> None:
        commands = shown("tools/end_to_end", "--only", phase)
        end = [f"exec load-{phase}", "uninstall", "kind delete"]
        appear([f" run load-{phase}", *parts, *end], commands)

    def test_a_given_cluster_is_left_as_it_was(self) -> None:
        commands = shown(
            "tools/end_to_end", "--given", "registry.example:5000/shop:1", "registry.example:5000/shop:2"
        )
        words = [" ".join(command) for command in commands]
        assert [
            word
            for word in words
            if re.search("docker|kind|context|drain|cordon", word.partition("--overrides")[0])
        ] == []
        assert any("image.repository=registry.example:5000/shop,image.tag=2" in word for word in words)
        assert words[-1].endswith("delete namespace tradepost --timeout=5m")

    def test_an_unknown_phase_is_refused_by_its_name(self) -> None:
        done = tool("tools/end_to_end", "--show", "--only", "upgrade,retarts")
        assert done.returncode == 1
        assert "no phase is called retarts: there are upgrade, keys" in done.stderr

    def test_every_file_that_it_names_is_there(self, commands: list[list[str]]) -> None:
        named = {
            word.removeprefix("--from-file=")
            for command in commands
            for word in command
            if re.match(r"(--from-file=)?(k8s|charts|tools)/", word) or word.endswith((".yaml", ".py"))
        }
        assert {"k8s/kind.yaml", "k8s/dependencies/postgresql.yaml", "tools/rollout_load"} <= named
        # What the tool writes on the way.
        named -= {SECRETS, CHANGED}
        assert [name for name in named if not (ROOT / name).exists()] == []

    def test_what_it_installs_renders(self, commands: list[list[str]], tmp_path: Path) -> None:
        [making] = [command for command in commands if command[-1] == SECRETS and "tools/" in command[-2]]
        made, changed = tmp_path / "secrets.yaml", tmp_path / "changed.yaml"
        assert tool(*making[1:-1], str(made)).returncode == 0
        changed.write_text('{"secrets": {}}')
        files = {SECRETS: str(made), CHANGED: str(changed)}
        installs = {" ".join(command): command for command in commands if "--install" in command}
        for command in installs.values():
            values = command[command.index("charts/tradepost") + 1 : command.index("--wait")]
            done = subprocess.run(
                [command[0], "template", "tradepost", "charts/tradepost", "-n", "tradepost"]
                + [files.get(value, value) for value in values],
                cwd=ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
            # The address that the load asks.
            assert objects["Service", "tradepost"]["spec"]["ports"][0]["port"] == 80
            pod = objects["Deployment", "tradepost"]["spec"]["template"]["spec"]
            assert pod["containers"][0]["image"] in {"tradepost:e2e-1", "tradepost:e2e-2"}
        assert len(installs) == 5

    def test_its_load_is_a_pod_that_a_restricted_namespace_admits(self, commands: list[list[str]]) -> None:
        [load, *_] = [command for command in commands if "load-upgrade" in command and "run" in command]
        [overrides] = [word for word in load if word.startswith("--overrides=")]
        pod = json.loads(overrides.removeprefix("--overrides="))
        pod |= {"kind": "Pod", "metadata": {"name": "load-upgrade", "namespace": "tradepost"}}
        assert restricted.violations(pod) == []
        assert [kubernetes.faults(pod, version) for version in kubernetes.VERSIONS] == [[], []]


class TestRelease:
    def test_the_image_is_built_for_two_architectures_and_signed_by_digest(self) -> None:
        build, sign = shown("tools/release.py", "image", "ghcr.io/Some-Owner")
        assert {
            "--platform=linux/amd64,linux/arm64",
            "--sbom=true",
            "--provenance=mode=max",
            "--push",
        } <= set(build)
        assert sign == ["cosign", "sign", "--yes", f"ghcr.io/some-owner/tradepost@{DIGEST}"]

    def test_the_chart_is_packaged_pushed_and_signed_by_digest(self) -> None:
        commands = shown("tools/release.py", "chart", "ghcr.io/some-owner")
        assert [command[1] for command in commands] == ["lint", "package", "push", "sign"]
        assert commands[2][3] == "oci://ghcr.io/some-owner/charts"
        assert commands[3][3] == f"ghcr.io/some-owner/charts/tradepost@{DIGEST}"

    def test_the_released_chart_names_its_image(self, tmp_path: Path) -> None:
        code = (
            "import sys, pathlib, shutil; sys.path.insert(0, 'tools'); import release;"
            f"copy = pathlib.Path({str(tmp_path)!r}) / 'tradepost'; shutil.copytree(release.CHART, copy);"
            f"release.name_image(copy, 'ghcr.io/some-owner/tradepost', {DIGEST!r})"
        )
        assert tool("-c", code).returncode == 0
        image = yaml.safe_load((tmp_path / "tradepost" / "values.yaml").read_text())["image"]
        assert (image["repository"], image["digest"]) == ("ghcr.io/some-owner/tradepost", DIGEST)
        assert DIGEST in (tmp_path / "tradepost" / "README.md").read_text()

    def test_a_tag_that_is_not_the_version_is_refused(self) -> None:
        done = tool("tools/release.py", "check", "v99.0.0")
        assert done.returncode == 1
        assert "the tag 99.0.0, service/__init__.py" in done.stderr


def test_every_waiver_has_a_reason() -> None:
    waivers = yaml.safe_load((ROOT / "tools" / "checkov-waivers.yaml").read_text())
    assert [one["check"] for one in waivers if set(one) != {"check", "resource", "reason"}] == []
    assert [one["check"] for one in waivers if len(one["reason"]) < 25] == []
