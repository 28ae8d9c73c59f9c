"""What runs in pods: as whom, with which environment and files, and how it ends."""

import base64
from typing import Any

import pytest

from service.platform.config import Settings
from tests.chart.chart import CASES, NAMESPACE, Json, of_kind, one, pods, rendered
from tests.chart.restricted import violations

OF_THE_SDK = {
    "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
}  # fmt: skip
#: Read by prometheus_client.
METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"
#: Which no setting has, by the case that adds them.
EXTRA = {"everything": {"SSL_CERT_FILE", "NODE_NAME"}, "extensions": {"SSL_CERT_FILE"}}
#: Others are the values' own.
COMMANDS = ("verify", "create-admin", "import", "check-config")
OWN_CONTAINERS = {"api", "worker", "migrate", "smoke", "rehearsal", *COMMANDS}
WRITABLE = {"environment-dev-reload", "environment-dev-debug"}
KEY = "Kt0GgeWd0M7FNUOEFw6EHtycYFa50jYcLZFLPsA5WL21m78pmQMBZcA2QtNMqHWI"


def environment(objects: list[Json], container: Json) -> dict[str, str]:
    """Names and values, "" where a value is known to the cluster alone. A name twice would fail here."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= of_kind(objects, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    listed = [variable["name"] for variable in container.get("env", [])]
    assert len(listed) == len(set(listed)), "server-side apply refuses a name twice"
    assert found.keys().isdisjoint(listed), "two sources decide one setting"
    return found | {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}


def containers(objects: list[Json]) -> list[tuple[str, Json]]:
    return [(name, container) for name, pod in pods(objects) for container in pod["spec"]["containers"]]


def spec_of(name: str, kind: str, suffix: str, *options: str) -> Json:
    found: Json = one(rendered(name, *options), kind, suffix)["spec"]["template"]["spec"]
    return found


class TestSecurity:
    @pytest.mark.parametrize("name", CASES)
    def test_every_pod_is_let_into_a_restricted_namespace(self, name: str) -> None:
        found = {pod: violations(each, writes=name in WRITABLE) for pod, each in pods(rendered(name))}
        assert found
        assert {pod: wrong for pod, wrong in found.items() if wrong} == {}

    @pytest.mark.parametrize(
        ("option", "wrong"),
        [
            ("podSecurityContext.runAsNonRoot=false", "runs as root"),
            ("podSecurityContext.seccompProfile.type=Unconfined", "seccompProfile"),
            ("containerSecurityContext.readOnlyRootFilesystem=false", "api: read-only root"),
            ("containerSecurityContext.allowPrivilegeEscalation=true", "api: privilege escalation"),
            ("api.resources.limits.cpu=1", "api: limits"),
            ("api.extraVolumes[0].name=host,api.extraVolumes[0].hostPath.path=/", "volume host"),
        ],
    )
    def test_what_is_not_would_be_found(self, option: str, wrong: str) -> None:
        pod = one(rendered("minimal", "--set", option), "Deployment", "tradepost")["spec"]["template"]
        assert violations(pod) == [wrong]

    @pytest.mark.parametrize("name", ["minimal", "everything"])
    def test_all_run_as_the_images_user(self, name: str) -> None:
        users = [pod["spec"]["securityContext"] for _, pod in pods(rendered(name))]
        ids = {(each["runAsUser"], each["runAsGroup"], each["fsGroup"]) for each in users}
        assert ids == {(10001, 10001, 10001)}

    @pytest.mark.parametrize("name", CASES)
    def test_no_account_has_a_token_or_rights(self, name: str) -> None:
        accounts = of_kind(rendered(name), "ServiceAccount")
        assert [each for each in accounts.values() if each["automountServiceAccountToken"]] == []
        named = {pod["spec"]["serviceAccountName"] for _, pod in pods(rendered(name))}
        assert named == (accounts.keys() or {"default"})
        assert not {"Role", "ClusterRole"} & {each["kind"] for each in rendered(name)}

    def test_only_empty_folders_can_be_written(self) -> None:
        expected = {
            "api": {"/tmp", "/run/tradepost/metrics", "/run/tradepost/drain"},
            "worker": {"/tmp"},
            "migrate": {"/tmp"},
            "smoke": {"/tmp"},
            **{command: {"/tmp"} for command in COMMANDS},
        }
        for _, pod in pods(rendered("minimal")):
            [container] = pod["spec"]["containers"]
            kinds = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
            mounts = container["volumeMounts"]
            writable = {
                mount["mountPath"]: kinds[mount["name"]] for mount in mounts if not mount.get("readOnly")
            }
            assert writable.keys() == expected[container["name"]]
            assert all("emptyDir" in volume for volume in writable.values())
        volumes = {
            volume["name"]: volume for volume in spec_of("minimal", "Deployment", "tradepost")["volumes"]
        }
        assert volumes["metrics"]["emptyDir"]["medium"] == "Memory"


class TestEnvironment:
    @pytest.mark.parametrize("name", CASES)
    def test_it_has_known_names_only_and_none_twice(self, name: str) -> None:
        known = {setting.upper() for setting in Settings.model_fields} | OF_THE_SDK | {METRICS_DIR}
        for where, container in containers(rendered(name)):
            if container["name"] not in OWN_CONTAINERS:
                continue
            unknown = environment(rendered(name), container).keys() - known
            assert unknown <= EXTRA.get(name, set()), where

    def test_the_two_secrets_are_taken_in_production(self) -> None:
        objects = rendered("minimal")
        data = of_kind(objects, "Secret")["tradepost"]["data"]
        assert {key: base64.b64decode(value).decode() for key, value in data.items()} == {
            "DATABASE_URL": "postgresql://tradepost:password@db.example:5432/tradepost",
            "SECRET_KEY": KEY,
        }
        settings = of_kind(objects, "ConfigMap")["tradepost"]["data"]
        assert settings["ENVIRONMENT"] == "production"

    def test_values_become_settings(self) -> None:
        objects = rendered("everything")
        api = dict(containers(objects))["Deployment shop"]
        given = environment(objects, api)
        assert (
            given.items()
            >= {
                "MAX_BODY_BYTES": "1048576",
                "DATABASE_STATEMENT_TIMEOUT": "2.5",
                "DOCS_ENABLED": "true",
                "TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8",
                "READINESS_DATABASE": "hard",
                "WEB_CONCURRENCY": "2",
                "RESPONSE_CACHE_BYTES": "16777216",
                "SSL_CERT_FILE": "/certificates/ca.pem",
            }.items()
        )

    def test_an_external_secret_is_made_for_the_hook_too(self) -> None:
        objects = rendered("external-secret")
        targets = {
            name: each["spec"]["target"]["name"] for name, each in of_kind(objects, "ExternalSecret").items()
        }
        assert targets == {"tradepost": "tradepost", "tradepost-migrate": "tradepost-migrate"}


class TestChecksums:
    def annotations(self, *options: str, name: str = "minimal") -> list[tuple[str, str]]:
        found = [
            pod["metadata"]["annotations"]
            for each, pod in pods(rendered(name, *options))
            if "Deployment" in each
        ]
        return [(each["checksum/config"], each["checksum/secret"]) for each in found]

    def test_a_changed_setting_rolls_both(self) -> None:
        before, after = self.annotations(), self.annotations("--set", "config.SELLER=Us")
        assert [old[0] == new[0] for old, new in zip(before, after, strict=True)] == [False, False]
        assert [old[1] == new[1] for old, new in zip(before, after, strict=True)] == [True, True]

    def test_so_does_a_changed_secret(self) -> None:
        before, after = self.annotations(), self.annotations("--set", "secrets.redisUrl=redis://r")
        assert [old[1] == new[1] for old, new in zip(before, after, strict=True)] == [False, False]

    def test_nothing_else_does(self) -> None:
        assert self.annotations() == self.annotations("--set", "api.replicas=3")


class TestProbes:
    """The table of docs/operations.md."""

    @pytest.mark.parametrize("suffix", ["tradepost", "-worker"])
    def test_they_have_the_documented_periods(self, suffix: str) -> None:
        [container] = spec_of("minimal", "Deployment", suffix)["containers"]
        found = {
            name: (
                probe["httpGet"]["path"],
                probe["httpGet"]["port"],
                probe["periodSeconds"],
                probe["failureThreshold"],
            )
            for name, probe in container.items()
            if name.endswith("Probe")
        }
        assert found == {
            "startupProbe": ("/startupz", "http", 1, 60),
            "livenessProbe": ("/livez", "http", 10, 6),
            "readinessProbe": ("/readyz", "http", 5, 2),
        }
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
            "http": 8000,
            "metrics": 9090,
        }


class TestShutdown:
    def parts(self, *options: str) -> tuple[Any, ...]:
        spec = spec_of("minimal", "Deployment", "tradepost", *options)
        [container] = spec["containers"]
        given = environment(rendered("minimal", *options), container)
        stop = container["lifecycle"]["preStop"]["exec"]["command"]
        return stop, given["GRACEFUL_TIMEOUT"], given["DRAIN_FILE"], spec["terminationGracePeriodSeconds"]

    def test_the_times_nest(self) -> None:
        stop = ["/bin/sh", "-c", 'touch "$DRAIN_FILE" && sleep 10']
        assert self.parts() == (stop, "25", "/run/tradepost/drain/now", 45)

    def test_they_follow_from_two_values(self) -> None:
        options = ("--set", "api.shutdown.drainSeconds=20,api.shutdown.gracefulSeconds=60")
        stop = ["/bin/sh", "-c", 'touch "$DRAIN_FILE" && sleep 20']
        assert self.parts(*options) == (stop, "60", "/run/tradepost/drain/now", 90)

    def test_a_worker_has_its_own(self) -> None:
        options = ("--set", "worker.shutdown.gracefulSeconds=60")
        assert spec_of("minimal", "Deployment", "-worker")["terminationGracePeriodSeconds"] == 35
        spec = spec_of("minimal", "Deployment", "-worker", *options)
        assert spec["terminationGracePeriodSeconds"] == 70
        assert environment(rendered("minimal", *options), spec["containers"][0])["GRACEFUL_TIMEOUT"] == "60"


class TestRollout:
    @pytest.mark.parametrize("name", CASES)
    def test_no_pod_is_missing_while_it_goes_on(self, name: str) -> None:
        for deployment in of_kind(rendered(name), "Deployment").values():
            assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0

    def test_the_autoscaler_alone_decides_how_many(self) -> None:
        """Helm 4 would otherwise fight it for `replicas` at every upgrade."""
        objects = rendered("everything")
        assert "replicas" not in one(objects, "Deployment", "shop")["spec"]
        scaler = one(objects, "HorizontalPodAutoscaler")["spec"]
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 10)
        assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"}
        [metric] = scaler["metrics"]
        assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
        assert one(rendered("minimal"), "Deployment", "tradepost")["spec"]["replicas"] == 2

    def test_broken_pods_do_not_hold_up_a_node(self) -> None:
        budgets = of_kind(rendered("minimal"), "PodDisruptionBudget")
        assert budgets.keys() == {"tradepost", "tradepost-worker"}
        for name, budget in budgets.items():
            assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
            deployment = of_kind(rendered("minimal"), "Deployment")[name]
            assert budget["spec"]["selector"] == deployment["spec"]["selector"]

    def test_pods_spread_over_zones_and_nodes(self) -> None:
        spread = spec_of("minimal", "Deployment", "tradepost")["topologySpreadConstraints"]
        assert [each["topologyKey"] for each in spread] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        labels = one(rendered("minimal"), "Deployment", "tradepost")["spec"]["selector"]
        assert [each["labelSelector"] for each in spread] == [labels, labels]

    def test_extension_points_arrive(self) -> None:
        for suffix in ("shop", "-worker"):
            deployment = one(rendered("everything"), "Deployment", suffix)
            template = deployment["spec"]["template"]
            assert deployment["metadata"]["annotations"] == {"example.com/of": "deployment"}
            assert template["metadata"]["annotations"].items() >= {("example.com/of", "pod")}
            assert template["metadata"]["labels"].items() >= {
                ("example.com/tier", "front"),
                ("team", "commerce"),
            }
            spec = template["spec"]
            assert spec["priorityClassName"] == "important"
            assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
            assert spec["tolerations"] == [{"key": "shop", "operator": "Exists"}]
            assert spec["affinity"]["nodeAffinity"]
            assert spec["imagePullSecrets"] == [{"name": "registry"}]
            assert "certificates" in {volume["name"] for volume in spec["volumes"]}
            assert "/certificates" in {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}


class TestMigration:
    def test_a_hook_brings_all_that_it_stands_on(self) -> None:
        """It runs before the chart's own objects are there."""
        objects = rendered("minimal")
        hooks = {
            (each["kind"], each["metadata"]["annotations"]["helm.sh/hook-weight"]): each["metadata"]["name"]
            for each in objects
            if each["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-install,pre-upgrade"
        }
        before = [(kind, "-10") for kind in ("NetworkPolicy", "Secret", "ServiceAccount")]
        assert hooks == dict.fromkeys([("Job", "0"), *before], "tradepost-migrate")
        pod = one(objects, "Job")["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == "tradepost-migrate"
        assert "envFrom" not in pod["containers"][0]
        named = [each["secret"]["name"] for each in pod["volumes"][0]["projected"]["sources"]]
        assert named == ["tradepost-migrate"] * 2
        own, whole = (of_kind(objects, "Secret")[name]["data"] for name in ("tradepost-migrate", "tradepost"))
        assert own == {"DATABASE_URL": whole["DATABASE_URL"]}

    def test_it_has_the_settings_of_the_api(self) -> None:
        objects = rendered("minimal")
        assert (
            environment(objects, dict(containers(objects))["Job tradepost-migrate"])
            == (of_kind(objects, "ConfigMap")["tradepost"]["data"])
        )

    def test_a_job_beside_the_rest_is_another_one_when_anything_changes(self) -> None:
        """A Job's template cannot change: an upgrade would fail."""
        names = [
            one(rendered("existing-secret", *options), "Job")["metadata"]["name"]
            for options in (
                (),
                ("--set", "image.tag=2.0.0"),
                ("--set", "config.SELLER=Us"),
                ("--set", "api.replicas=3"),
            )
        ]
        assert len(set(names)) == 3
        assert names[0] == names[3]
        assert all(name.startswith("tradepost-migrate-") for name in names)
        job = one(rendered("existing-secret"), "Job")
        assert "annotations" not in job["metadata"]
        assert job["spec"]["ttlSecondsAfterFinished"] == 86400

    def test_none(self) -> None:
        assert of_kind(rendered("bare"), "Job") == {}

    def test_faults_in_the_settings_are_not_tried_again(self) -> None:
        rules = one(rendered("minimal"), "Job")["spec"]["podFailurePolicy"]["rules"]
        assert rules[0] == {
            "action": "FailJob",
            "onExitCodes": {"containerName": "migrate", "operator": "In", "values": [78]},
        }


class TestSmokeTest:
    def test_it_is_the_services_own_in_the_services_image(self) -> None:
        pod = one(rendered("minimal"), "Pod")
        [container] = pod["spec"]["containers"]
        assert container["args"] == ["smoke", "--url", f"http://tradepost.{NAMESPACE}:80"]
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"

    def test_it_can_order_where_there_is_an_administrator(self) -> None:
        [container] = one(rendered("existing-secret"), "Pod")["spec"]["containers"]
        keys = [variable["valueFrom"]["secretKeyRef"] for variable in container["env"]]
        assert keys == [
            {"name": "shop-settings", "key": key, "optional": True}
            for key in ("ADMIN_EMAIL", "ADMIN_PASSWORD")
        ]
