"""What Helm makes of the chart: the same by both versions, and what a cluster takes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

import service
from tests.chart import admission, chart, golden, kubernetes
from tests.chart.chart import APIS, CASES, CHART, GATEWAY, HELMS, MONITORING, one, pods, rendered
from tools import custom_resources

#: Values that ask for what a cluster may not know.
WITH_APIS = (
    "everything",
    "extensions",
    "autoscaled",
    "sloth",
    "environment-staging",
    "environment-production",
)
MONITORED = {"PodMonitor", "PrometheusRule", "ServiceMonitor"}


def kinds(objects: Iterable[dict[str, Any]]) -> set[str]:
    return {each["kind"] for each in objects}


class TestLint:
    @pytest.mark.parametrize("major", HELMS)
    def test_the_chart_alone_passes_strictly(self, major: str) -> None:
        done = chart.run(major, "lint", "--strict", CHART)
        assert (done.returncode, "0 chart(s) failed" in done.stdout) == (0, True), done.stdout

    @pytest.mark.parametrize(
        "name", ["everything", "extensions", "external-secret", "bare", "environment-production"]
    )
    @pytest.mark.parametrize("major", HELMS)
    def test_it_passes_strictly_with_values(self, major: str, name: str) -> None:
        files = [option for file in CASES[name].files for option in ("-f", file)]
        done = chart.run(major, "lint", "--strict", CHART, *files)
        assert (done.returncode, "[WARNING]" in done.stdout, "[ERROR]" in done.stdout) == (0, False, False)

    def test_a_mistake_is_found(self, tmp_path: Path) -> None:
        for file in ("Chart.yaml", "values.yaml"):
            (tmp_path / file).write_text((CHART / file).read_text())
        (tmp_path / "templates").mkdir()
        (tmp_path / "templates" / "broken.yaml").write_text("kind: {{ .Values.nowhere.name }}\n")
        assert chart.run("4", "lint", "--strict", tmp_path).returncode != 0


class TestMatrix:
    @pytest.mark.parametrize("apis", APIS, ids=lambda apis: "+".join(apis) or "none")
    @pytest.mark.parametrize("name", WITH_APIS)
    def test_both_versions_of_helm_agree(self, name: str, apis: tuple[str, ...]) -> None:
        old, new = (rendered(name, apis=apis, major=major) for major in HELMS)
        assert old == new

    @pytest.mark.parametrize("name", sorted(CASES.keys() - set(WITH_APIS)))
    def test_they_agree_on_values_that_ask_no_api(self, name: str) -> None:
        old, new = (
            rendered(name, apis=apis, major=major) for apis, major in zip(APIS[:2], HELMS, strict=True)
        )
        assert old == new

    @pytest.mark.parametrize("name", WITH_APIS)
    def test_a_cluster_without_the_operator_gets_none_of_its_objects(self, name: str) -> None:
        without, having = (rendered(name, apis=apis) for apis in (APIS[0], (MONITORING,)))
        assert kinds(without) & MONITORED == set()
        assert kinds(having) - kinds(without) <= MONITORED

    def test_switching_monitoring_on_is_needed_too(self) -> None:
        assert kinds(rendered("minimal")) & MONITORED == set()
        assert kinds(rendered("everything")) >= MONITORED

    def test_they_can_be_had_without_asking_the_cluster(self) -> None:
        options = ("--set", "monitoring.scrape.enabled=true,monitoring.rules.enabled=true")
        assert kinds(rendered("everything", *options, apis=())) >= MONITORED

    def test_a_route_is_made_wherever_it_is_asked_for(self) -> None:
        """Left out silently it would be missed in the browser; the cluster says it more plainly."""
        for apis in ((), (GATEWAY,)):
            assert "HTTPRoute" in kinds(rendered("everything", apis=apis))
        assert "HTTPRoute" not in kinds(rendered("minimal"))

    def test_two_values_are_enough(self) -> None:
        key, url = "0123456789abcdef0123456789abcdef", "postgresql://u:p@db.example/tradepost"
        options = ("--set", f"secrets.secretKey={key}", "--set", f"secrets.databaseUrl={url}")
        for major in HELMS:
            done = chart.template(major, chart.Case(()), *options)
            assert done.returncode == 0, done.stderr
            found = [document for document in yaml.safe_load_all(done.stdout) if document]
            assert len(found) == len(rendered("minimal"))

    def test_it_is_the_chart_of_this_version(self) -> None:
        assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == service.__version__


class TestSchemas:
    @pytest.mark.parametrize("version", kubernetes.VERSIONS)
    @pytest.mark.parametrize("name", CASES)
    def test_every_object_is_what_kubernetes_takes(self, name: str, version: str) -> None:
        objects = rendered(name)
        assert [fault for each in objects for fault in kubernetes.faults(each, version)] == []

    @pytest.mark.parametrize(
        ("kind", "path", "value"),
        [
            ("Deployment", ("spec", "replica"), 3),
            ("Deployment", ("spec", "template", "spec", "containers", 0, "imagePull"), "Always"),
            ("NetworkPolicy", ("spec", "egres"), []),
            ("HTTPRoute", ("spec", "rules", 0, "backendRefs", 0, "port"), "http"),
            ("ServiceMonitor", ("spec", "endpoints", 0, "relabeling"), []),
            ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "four"), "5m"),
            ("PrometheusServiceLevel", ("spec", "slos", 0, "sli", "events", "error_query"), "vector(0)"),
            # What the operators' own types say of values.
            ("HTTPRoute", ("spec", "rules", 0, "matches", 0, "path", "type"), "Prefix"),
            ("HTTPRoute", ("spec", "hostnames", 0), "Shop.example"),
            ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "30 seconds"),
            ("ServiceMonitor", ("spec", "endpoints", 0, "relabelings", 0, "action"), "rename"),
            ("ServiceMonitor", ("spec", "selector", "matchLabel"), {}),
        ],
    )
    def test_a_mistake_is_found(self, kind: str, path: tuple[str | int, ...], value: object) -> None:
        assert kubernetes.faults(changed(kind, path, value), kubernetes.VERSIONS[0]) != []

    def test_the_operators_types_are_those_of_the_named_packages(self) -> None:
        known = kubernetes.custom_resources()
        packages = [f"@kubernetes-models/{name}" for name in custom_resources.PACKAGES]
        assert known["from"] == packages, "run `make custom-resources`"

    def test_the_oldest_version_is_the_charts(self) -> None:
        wanted = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
        assert wanted == f">={kubernetes.VERSIONS[0]}.0-0"

    def test_an_older_cluster_is_refused(self) -> None:
        assert "incompatible with Kubernetes v1.31.0" in chart.refused("--kube-version", "1.31.0")


class TestNumbers:
    @pytest.mark.parametrize("major", HELMS)
    def test_two_weeks_in_a_file_of_values_are_a_number_of_seconds(self, major: str, tmp_path: Path) -> None:
        """Numbers of files are floats to Helm, which writes a million as 1e+06. Kubernetes refuses that."""
        weeks = {"activeDeadlineSeconds": 1209600, "ttlSecondsAfterFinished": 1209600}
        values = tmp_path / "weeks.yaml"
        values.write_text(yaml.safe_dump({"migrations": {"mode": "job", **weeks}, "tasks": dict(weeks)}))
        objects = rendered("minimal", "-f", str(values), major=major)
        specs = [each["spec"] for each in objects if each["kind"] == "Job"]
        specs += [each["spec"]["jobTemplate"]["spec"] for each in objects if each["kind"] == "CronJob"]
        assert len(specs) > 1
        for spec in specs:
            assert (spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (1209600, 1209600)
            assert isinstance(spec["ttlSecondsAfterFinished"], int)


class TestAdmission:
    """What no schema says, and the API server checks all the same."""

    @pytest.mark.parametrize("name", CASES)
    def test_every_object_would_be_taken(self, name: str) -> None:
        assert [fault for each in rendered(name) for fault in admission.refused(each)] == []

    @pytest.mark.parametrize(
        ("kind", "path", "value", "said"),
        [
            ("Deployment", ("metadata", "name"), "Shop", "the name"),
            ("Job", ("metadata", "name"), "a" * 64, "the name is too long for the labels of its pods"),
            ("Service", ("metadata", "name"), "1shop", "the name"),
            ("ConfigMap", ("metadata", "labels", "team"), "front office", "label team"),
            ("ConfigMap", ("data", "A B"), "", "key A B"),
            ("ConfigMap", ("data", "BIG"), "x" * 1_048_577, "too large"),
            (
                "Deployment",
                ("spec", "selector", "matchLabels", "a"),
                "b",
                "the selector does not find its own pods",
            ),
            (
                "Deployment",
                ("spec", "strategy", "rollingUpdate", "maxSurge"),
                "0%",
                "a rollout could not begin",
            ),
            ("Deployment", ("spec", "minReadySeconds"), 600, "minReadySeconds exceeds the deadline"),
            ("HorizontalPodAutoscaler", ("spec", "minReplicas"), 99, "minReplicas exceeds maxReplicas"),
            (
                "Job",
                ("spec", "template", "spec", "restartPolicy"),
                "OnFailure",
                "podFailurePolicy needs restartPolicy Never",
            ),
            ("CronJob", ("metadata", "name"), "a" * 53, "the name is too long for the labels of its pods"),
            ("CronJob", ("spec", "schedule"), "nightly", "schedule"),
            (
                "CronJob",
                (
                    "spec",
                    "jobTemplate",
                    "spec",
                    "podFailurePolicy",
                    "rules",
                    0,
                    "onExitCodes",
                    "containerName",
                ),
                "other",
                "exit codes of no container other",
            ),
            ("Service", ("spec", "ports", 0, "name"), "HTTP", "port HTTP"),
            ("Pod", ("spec", "volumes", 0, "name"), "other", "smoke: mount of no volume tmp"),
        ],
    )
    def test_a_mistake_is_found(
        self, kind: str, path: tuple[str | int, ...], value: object, said: str
    ) -> None:
        document = changed(kind, path, value)
        assert said in [fault.partition(": ")[2] for fault in admission.refused(document)]

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("ports", [{"name": "http", "containerPort": 1}, {"name": "http", "containerPort": 2}],
             "port http twice"),
            ("ports", [{"name": "http", "containerPort": 8000}, {"name": "again", "containerPort": 8000}],
             "port (8000, 'TCP') twice"),
            ("ports", [{"name": "http-of-customers", "containerPort": 8000}], "port http-of-customers"),
            ("ports", [{"name": "other", "containerPort": 8000}], "probe of no port http"),
            ("env", [{"name": "A"}, {"name": "A"}], "variable A twice"),
            ("volumeMounts", [{"name": "tmp", "mountPath": "/a"}, {"name": "secrets", "mountPath": "/a"}],
             "mount /a twice"),
            ("resources", {"requests": {"memory": "2Gi"}, "limits": {"memory": "512Mi"}},
             "requests more memory than its limit"),
        ],
    )  # fmt: skip
    def test_a_mistake_in_a_container_is_found(self, field: str, value: object, said: str) -> None:
        document = changed("Deployment", ("spec", "template", "spec", "containers", 0, field), value)
        assert f"Deployment shop: api: {said}" in admission.refused(document)


class TestNames:
    @pytest.mark.parametrize("name", CASES)
    def test_they_fit(self, name: str) -> None:
        """63 characters; a Job's pods need six, a CronJob's Jobs eleven. A Service begins with a letter."""
        objects = rendered(name)
        longest = {"Job": 57, "CronJob": 52}
        names = [(each["metadata"]["name"], longest.get(each["kind"], 63)) for each in objects]
        assert [each for each, most in names if len(each) > most] == []
        assert all(each["metadata"]["name"][0].isalpha() for each in objects)
        labels = [value for each in objects for value in each["metadata"]["labels"].values()]
        assert [label for label in labels if len(label) > 63 or not label[-1].isalnum()] == []

    @pytest.mark.parametrize("name", ["minimal", "everything", "existing-secret"])
    def test_names_of_digits_are_no_numbers(self, name: str) -> None:
        """YAML would take them for some, and the API server would not."""
        options = ["--namespace", "1234", "--set-string", "serviceAccount.name=5678,api.priorityClassName=9"]
        if name == "existing-secret":
            options += ["--set-string", "existingSecret=4711"]
        objects = rendered(name, *options)
        assert {each["metadata"]["namespace"] for each in objects} == {"1234"}
        assert [fault for each in objects for fault in kubernetes.faults(each, kubernetes.VERSIONS[0])] == []

    @pytest.mark.parametrize("name", CASES)
    def test_no_object_is_there_twice(self, name: str) -> None:
        found = [(each["kind"], each["metadata"]["name"]) for each in rendered(name)]
        assert len(found) == len(set(found))

    @pytest.mark.parametrize("name", CASES)
    def test_every_object_says_where_it_belongs(self, name: str) -> None:
        assert {each["metadata"]["namespace"] for each in rendered(name)} == {chart.NAMESPACE}

    def test_selectors_never_change(self) -> None:
        changed = (
            "--set",
            "commonLabels.a=b,api.podLabels.c=d,worker.podLabels.c=d,image.tag=2,config.SELLER=S",
        )
        for suffix in ("tradepost", "-worker"):
            first, then = (
                one(objects, "Deployment", suffix)["spec"] for objects in both("minimal", *changed)
            )
            assert first["selector"] == then["selector"]
            assert then["template"]["metadata"]["labels"].items() >= {"a": "b", "c": "d"}.items()


class TestImage:
    @pytest.mark.parametrize(
        ("options", "image"),
        [
            ("image.tag=", "tradepost:" + service.__version__),
            ("image.tag=2.0", "tradepost:2.0"),
            ("image.repository=registry.example:5000/shop,image.tag=2.0", "registry.example:5000/shop:2.0"),
            ("image.tag=2.0,image.digest=sha256:" + "0a" * 32, "tradepost@sha256:" + "0a" * 32),
        ],
    )
    def test_every_pod_has_the_one(self, options: str, image: str) -> None:
        objects = rendered("minimal", "--set-string", options)
        images = [container["image"] for _, pod in pods(objects) for container in pod["spec"]["containers"]]
        # Of the API, worker, migration, smoke test, and five commands.
        assert images == [image] * 9


class TestGolden:
    @pytest.mark.parametrize("name", golden.NAMES)
    def test_the_chart_becomes_what_reviewers_saw(self, name: str) -> None:
        file = golden.FOLDER / f"{name}.yaml"
        assert file.read_text() == golden.text(name), "if that is meant: `make chart-golden`"

    def test_no_other_file_is_there(self) -> None:
        assert {file.stem for file in golden.FOLDER.iterdir()} == set(golden.NAMES)


def changed(kind: str, path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """The first object of a kind with another value somewhere."""
    objects = [*rendered("everything"), *rendered("sloth")]
    found = next(each for each in objects if each["kind"] == kind)
    document: dict[str, Any] = json.loads(json.dumps(found))
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def both(name: str, *options: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Without and with options."""
    return rendered(name), rendered(name, *options)
