"""The chart as a part of another, which switches it on and off and shares values with it."""

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

import service
from tests.chart import admission, chart, kubernetes
from tests.chart.chart import CHART, HELMS, NAMESPACE, Json, of_kind, pods, run
from tests.chart.restricted import violations
from tests.chart.test_refusals import said

SECRETS: Final[Json] = yaml.safe_load((chart.VALUES / "minimal.yaml").read_text())["secrets"]
GLOBAL: Final[Json] = {
    "imageRegistry": "mirror.example",
    "imagePullSecrets": ["mirror"],
    "ofOthers": {"a": 1},
}
OWN: Final = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mall, namespace: {{ .Release.Namespace }}}\n"
#: This chart, and once more under another name.
DEPENDENCIES: Final[list[Json]] = [
    {"condition": "tradepost.enabled", "tags": ["shops"]},
    {"condition": "Outlet_2.enabled", "alias": "Outlet_2"},
]


@pytest.fixture(scope="module", params=HELMS)
def major(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def parent(major: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    own = {"name": "tradepost", "version": version, "repository": f"file://{CHART}"}
    metadata = {
        "apiVersion": "v2",
        "name": "mall",
        "version": "1.0.0",
        "dependencies": [{**own, **each} for each in DEPENDENCIES],
    }
    values = {"global": GLOBAL, "tradepost": {"secrets": SECRETS}, "Outlet_2": {"enabled": False}}
    (folder / "templates").mkdir()
    (folder / "templates" / "own.yaml").write_text(OWN)
    (folder / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    (folder / "values.yaml").write_text(yaml.safe_dump(values))
    done = run(major, "dependency", "build", folder)
    assert done.returncode == 0, done.stderr
    return folder


def template(major: str, parent: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(major, "template", "tradepost", parent, "--namespace", NAMESPACE, *options)


def rendered(major: str, parent: Path, *options: str) -> list[Json]:
    """Without the parent's own."""
    done = template(major, parent, *options)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    found = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert "mall" in of_kind(found, "ConfigMap")
    return sorted(
        (each for each in found if each["metadata"]["name"] != "mall"),
        key=lambda each: (each["kind"], each["metadata"]["name"]),
    )


class TestDependency:
    def test_it_is_what_it_is_alone(self, major: str, parent: Path) -> None:
        alone = chart.rendered("minimal", "--set-json", f"global={json.dumps(GLOBAL)}", major=major)
        assert rendered(major, parent) == alone

    def test_what_is_global_reaches_every_pod(self, major: str, parent: Path) -> None:
        found = [pod["spec"] for _, pod in pods(rendered(major, parent))]
        assert {each["containers"][0]["image"] for each in found} == {
            f"mirror.example/tradepost:{service.__version__}"
        }
        assert [each["imagePullSecrets"] for each in found] == [[{"name": "mirror"}]] * len(found)

    @pytest.mark.parametrize(
        ("options", "there"),
        [
            ("tradepost.enabled=true", True),
            ("tradepost.enabled=false", False),
            ("tags.shops=true", True),
            ("tags.shops=false", False),
            # As Helm has it: what is set by name has precedence over tags.
            ("tags.shops=false,tradepost.enabled=true", True),
            ("tags.shops=true,tradepost.enabled=false", False),
            # Then its values are of no account.
            ("tradepost.enabled=false,tradepost.secrets.secretKey=", False),
        ],
    )
    def test_its_parent_switches_it_on_and_off(
        self, major: str, parent: Path, options: str, there: bool
    ) -> None:
        assert bool(rendered(major, parent, "--set", options)) is there

    def test_a_typo_is_found_in_it_too(self, major: str, parent: Path) -> None:
        done = template(major, parent, "--set", "tradepost.api.replica=2,tradepost.enabeld=true")
        assert done.returncode != 0
        assert "tradepost:" in done.stderr
        assert "at '': additional properties 'enabeld' not allowed" in said(done.stderr)
        assert "at '/api': additional properties 'replica' not allowed" in said(done.stderr)

    def test_so_is_a_mistake_in_what_is_global_and_its_own(self, major: str, parent: Path) -> None:
        done = template(major, parent, "--set", "global.imageRegistry=https://mirror.example")
        assert "at '/global/imageRegistry'" in done.stderr

    def test_values_that_do_not_fit_are_refused(self, major: str, parent: Path) -> None:
        done = template(major, parent, "--set", "tradepost.secrets.secretKey=")
        assert "Set secrets.secretKey" in done.stderr

    def test_extra_objects_see_what_is_global(self, major: str, parent: Path) -> None:
        extra = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "seen"},
            "data": {"a": "{{ .Values.global.ofOthers.a }}"},
        }
        objects = rendered(major, parent, "--set-json", f"tradepost.extraObjects={json.dumps([extra])}")
        assert of_kind(objects, "ConfigMap")["seen"]["data"] == {"a": "1"}


@pytest.fixture(scope="module")
def both(major: str, parent: Path) -> list[Json]:
    values = json.dumps({"enabled": True, "secrets": SECRETS})
    return rendered(major, parent, "--set-json", f"Outlet_2={values}")


class TestAlias:
    """A parent may have it several times."""

    def test_both_are_whole(self, both: list[Json]) -> None:
        names = [(each["kind"], each["metadata"]["name"]) for each in both]
        assert len(set(names)) == len(names) == 2 * len(chart.rendered("minimal"))
        own = {name for kind, name in names if kind == "Deployment"}
        assert own == {"tradepost", "tradepost-worker", "tradepost-outlet-2", "tradepost-outlet-2-worker"}

    def test_neither_selects_the_others_pods(self, both: list[Json]) -> None:
        for deployment in of_kind(both, "Deployment").values():
            wanted = deployment["spec"]["selector"]["matchLabels"].items()
            assert sum(wanted <= pod["metadata"]["labels"].items() for _, pod in pods(both)) == 1

    def test_a_cluster_takes_them(self, both: list[Json]) -> None:
        for version in kubernetes.VERSIONS:
            assert [fault for each in both for fault in kubernetes.faults(each, version)] == []
        assert [fault for each in both for fault in admission.refused(each)] == []
        assert {name: wrong for name, pod in pods(both) if (wrong := violations(pod))} == {}
