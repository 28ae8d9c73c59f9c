"""Whatever a workflow does can be done by hand; it runs what a commit pins, with no right too many."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))

AS_ROOT = r'(?:sudo env "PATH=\$PATH" )?'
VALUE = r'(?: [A-Z]+="[\w./:$-]+")*'
MAKE = re.compile(rf"{AS_ROOT}make ([a-z-]+){VALUE}")
CI = re.compile(rf'{AS_ROOT}\.ci/run((?: (?:[a-z-]+|"\$[A-Z]+"))+)')
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40}")
WITH_VERSION = re.compile(r"uses: ([\w./-]+@[0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", re.MULTILINE)
WRITES = {"release.yml": {"publish": {"packages", "id-token", "attestations"}}}

# Any, because the key `on` is a truth to YAML.
Json = dict[Any, Any]


def read(path: Path) -> Json:
    document: Json = yaml.safe_load(path.read_text())
    return document


def jobs() -> Iterator[tuple[Path, str, Json]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield path, name, job


def steps(key: str) -> list[tuple[str, Json, Json]]:
    """Every step that has it, with its workflow and its job."""
    return [(path.name, job, step) for path, _, job in jobs() for step in job.get("steps", []) if key in step]


def targets(job: Json, step: Json) -> list[str]:
    """What a step asks make for; variables are looked up in its environment and the job's matrix."""
    if found := MAKE.fullmatch(step["run"]):
        return [found.group(1)]
    found = CI.fullmatch(step["run"])
    assert found is not None, f"neither `make TARGET` nor `.ci/run TARGET`: {step['run']}"
    names: list[str] = []
    for word in found.group(1).split():
        names += variable(job, step, word.strip('"$')) if word.startswith('"$') else [word]
    return names


def variable(job: Json, step: Json, name: str) -> list[str]:
    found = re.fullmatch(r"\$\{\{ matrix\.(\w+) \}\}", step["env"][name])
    assert found is not None, step["env"][name]
    values: list[str] = job["strategy"]["matrix"][found.group(1)]
    return values


def test_there_is_a_workflow_for_everything() -> None:
    assert [path.name for path in WORKFLOWS] == [
        "check.yml", "end-to-end.yml", "image.yml", "nightly.yml", "release.yml",
    ]  # fmt: skip


def test_every_step_calls_a_target_that_there_is() -> None:
    called = {(name, target) for name, job, step in steps("run") for target in targets(job, step)}
    assert {target for _, target in called} - TARGETS == set()
    assert {target for name, target in called if name == "check.yml"} == {
        "check", "test-slow", "chart", "checkov", "openapi-tools",
    }  # fmt: skip
    assert ("end-to-end.yml", "end-to-end") in called
    assert {("image.yml", name) for name in ("audit", "image-scan", "sbom", "test-image")} <= called


@pytest.mark.parametrize(
    "run", ["npm test", "make check && curl x", "make check; x", '.ci/run "$UNKNOWN"', "tools/x.sh", "make"]
)
def test_a_step_that_does_more_would_be_found(run: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        targets({}, {"run": run, "env": {}})


def test_nothing_from_outside_is_pasted_into_a_shell() -> None:
    assert [(name, step["run"]) for name, _, step in steps("run") if "${{" in step["run"]] == []


def test_every_action_is_pinned_by_its_commit_and_says_its_version() -> None:
    used = [step["uses"] for _, _, step in steps("uses")]
    assert [one for one in used if not PINNED.fullmatch(one)] == []
    told = [found for path in WORKFLOWS for found in WITH_VERSION.findall(path.read_text())]
    assert sorted(commit for commit, _ in told) == sorted(used)
    versions = {commit.partition("@")[0]: (commit, version) for commit, version in told}
    assert {(commit, version) for commit, version in told} == set(versions.values()), "one version of each"


def test_workflows_of_this_repository_are_there() -> None:
    called = [job["uses"] for _, _, job in jobs() if "uses" in job]
    assert called == ["$/.github/workflows/check.yml", "$/.github/workflows/end-to-end.yml"]
    for name in called:
        assert "workflow_call" in read(ROOT / name.removeprefix("$/"))[True]  # YAML's `on`


def test_every_job_has_a_time_limit_and_its_own_permissions() -> None:
    missing = [
        (path.name, name)
        for path, name, job in jobs()
        if "permissions" not in job or ("timeout-minutes" not in job and "uses" not in job)
    ]
    assert missing == []
    assert [path.name for path in WORKFLOWS if read(path)["permissions"] != {}] == []
    assert [path.name for path in WORKFLOWS if "group" not in read(path)["concurrency"]] == []


def test_only_the_release_may_write() -> None:
    for path, name, job in jobs():
        writes = {scope for scope, right in job["permissions"].items() if right == "write"}
        assert writes == WRITES.get(path.name, {}).get(name, set()), (path.name, name)


def test_no_credentials_stay_in_the_checkout() -> None:
    checkouts = [step for _, _, step in steps("uses") if step["uses"].startswith("actions/checkout@")]
    assert len(checkouts) == len([job for _, _, job in jobs() if "steps" in job])
    assert {step["with"]["persist-credentials"] for step in checkouts} == {False}


def test_owners_are_named_for_what_exists() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
    patterns = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert [one for one in patterns[1:] if not list(ROOT.glob(one.strip("/")))] == []
