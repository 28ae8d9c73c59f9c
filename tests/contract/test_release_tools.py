"""The scripts of the workflows, as far as they go without a cluster and a registry."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + 64 * "0"


SECRETS = "build/prod-like-secrets.yaml"


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
    return shown("tools/end_to_end.py", "--helm", request.param)


class TestEndToEnd:
    def test_a_cluster_is_made_used_and_removed(self, commands: list[list[str]]) -> None:
        words = [" ".join(command) for command in commands]
        order = (
            "docker build", "kind create cluster", "kind load docker-image", "upgrade --install", " test ",
            "rollout_load.py", "upgrade --install", "rollout restart", "upgrade --install", " rollback ",
            " test ", "kind delete cluster",
        )  # fmt: skip
        place = 0
        for part in order:
            place = next(at for at in range(place, len(words)) if part in words[at]) + 1
        assert place == len(words), words[place:]

    def test_every_file_that_it_names_is_there(self, commands: list[list[str]]) -> None:
        named = {
            word
            for command in commands
            for word in command
            if re.match(r"(k8s|charts|tools)/", word) or word.endswith((".yaml", ".py"))
        }
        assert "k8s/kind.yaml" in named
        assert "k8s/dependencies/postgresql.yaml" in named
        # What a tool writes on the way.
        named.remove(SECRETS)
        assert [name for name in named if not (ROOT / name).exists()] == []

    def test_what_it_installs_renders_and_is_the_service_it_asks(
        self, commands: list[list[str]], tmp_path: Path
    ) -> None:
        [making] = [command for command in commands if command[-1] == SECRETS and "tools/" in command[-2]]
        made = tmp_path / "secrets.yaml"
        assert tool(*making[1:-1], str(made)).returncode == 0
        installs = [command for command in commands if "--install" in command]
        assert len(installs) == 3
        tags = []
        for command in installs:
            helm, values = (
                command[0],
                command[command.index("charts/tradepost") + 1 : command.index("--wait")],
            )
            done = subprocess.run(
                [helm, "template", "tradepost", "charts/tradepost", "-n", "tradepost"]
                + [str(made) if value == SECRETS else value for value in values],
                cwd=ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            objects = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
            assert objects["Service", "tradepost"]["spec"]["type"] == "NodePort"
            pod = objects["Deployment", "tradepost"]["spec"]["template"]["spec"]
            tags.append(pod["containers"][0]["image"])
        assert tags == ["tradepost:e2e-1", "tradepost:e2e-2", "tradepost:e2e-2"]


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
