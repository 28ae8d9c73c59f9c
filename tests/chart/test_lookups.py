"""What depends on what the cluster has: the number of pods, and the checksum of a Secret of yours."""

from pathlib import Path

import pytest
import yaml

from tests.chart.chart import CASES, CHART, HELMS, NAMESPACE, Json, one, run, template
from tests.chart.cluster import cluster

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
DEPLOYMENT = f"{DEPLOYMENTS}/tradepost"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/shop-settings"
AUTOSCALED = ("--set", "autoscaling.enabled=true")
WORKERS_AUTOSCALED = (
    "--set",
    "worker.autoscaling.enabled=true,monitoring.enabled=true,database.maxConnections=200",
)


def owner(manager: str, operation: str, *fields: str, subresource: str = "") -> Json:
    return {
        "manager": manager,
        "operation": operation,
        "subresource": subresource,
        "fieldsV1": {"f:spec": {field: {} for field in fields}},
    }


HELM_3 = owner("helm", "Update", "f:replicas", "f:template")
HELM_4 = owner("helm", "Apply", "f:replicas", "f:template")
HELM_4_WITHOUT = owner("helm", "Apply", "f:template")
SCALED = owner("kube-controller-manager", "Update", "f:replicas", subresource="scale")
STATUS = owner("kube-controller-manager", "Update", subresource="status")


def deployment(*owners: Json, name: str = "tradepost") -> Json:
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        # Helm 4 looks whose it is.
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {
            "meta.helm.sh/release-name": "tradepost",
            "meta.helm.sh/release-namespace": NAMESPACE,
        },
        "managedFields": [*owners, STATUS],
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 7}}


def secret(**data: str) -> Json:
    metadata = {"name": "shop-settings", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def rendered(
    folder: Path,
    objects: dict[str, Json],
    *options: str,
    name: str = "minimal",
    major: str = "4",
    suffix: str = "tradepost",
) -> Json:
    """The API's Deployment or another, by a Helm that looks into the cluster."""
    with cluster(folder, objects) as config:
        looking = ("--kubeconfig", str(config), "--dry-run=server", "--disable-openapi-validation")
        done = template(major, CASES[name], *looking, *options)
    assert done.returncode == 0, done.stderr
    found = [document for document in yaml.safe_load_all(done.stdout) if document]
    return one(found, "Deployment", suffix)


class TestReplicas:
    @pytest.mark.parametrize(
        ("owners", "kept"),
        [
            pytest.param((HELM_3,), 7, id="merged by the client, just switched on"),
            pytest.param((HELM_3, SCALED), 7, id="merged by the client, scaled since"),
            pytest.param((HELM_4,), 7, id="applied on the server, just switched on"),
            pytest.param((HELM_4, SCALED), None, id="applied on the server, scaled since"),
            pytest.param((HELM_4_WITHOUT, SCALED), None, id="the autoscaler's alone"),
            pytest.param((HELM_4_WITHOUT,), None, id="nobody's"),
        ],
    )
    @pytest.mark.parametrize("major", HELMS)
    def test_the_autoscalers_number_is_neither_reset_nor_fought_for(
        self, tmp_path: Path, major: str, owners: tuple[Json, ...], kept: int | None
    ) -> None:
        found = rendered(tmp_path, {DEPLOYMENT: deployment(*owners)}, *AUTOSCALED, major=major)
        assert found["spec"].get("replicas") == kept

    @pytest.mark.parametrize(("owners", "kept"), [((HELM_4,), 7), ((HELM_4, SCALED), None)])
    def test_so_it_is_with_workers(self, tmp_path: Path, owners: tuple[Json, ...], kept: int | None) -> None:
        there = {f"{DEPLOYMENTS}/tradepost-worker": deployment(*owners, name="tradepost-worker")}
        found = rendered(tmp_path, there, *WORKERS_AUTOSCALED, suffix="-worker")
        assert found["spec"].get("replicas") == kept

    def test_the_first_time_there_is_none_to_keep(self, tmp_path: Path) -> None:
        assert "replicas" not in rendered(tmp_path, {}, *AUTOSCALED)["spec"]

    def test_without_autoscaler_the_value_decides(self, tmp_path: Path) -> None:
        assert rendered(tmp_path, {DEPLOYMENT: deployment(HELM_4, SCALED)})["spec"]["replicas"] == 2


class TestSecretOfYours:
    def checksum(self, folder: Path, objects: dict[str, Json]) -> str:
        template = rendered(folder, objects, name="existing-secret")["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/secret"]
        return found

    def test_a_changed_one_rolls_the_pods_at_the_next_upgrade(self, tmp_path: Path) -> None:
        none = self.checksum(tmp_path, {})
        first = self.checksum(tmp_path, {SECRET: secret(SECRET_KEY="YQ==")})
        changed = self.checksum(tmp_path, {SECRET: secret(SECRET_KEY="Yg==")})
        assert len({none, first, changed}) == 3
        assert first == self.checksum(tmp_path, {SECRET: secret(SECRET_KEY="YQ==")})

    def test_keys_that_reach_no_pod_are_named_after_an_install(self, tmp_path: Path) -> None:
        known = dict.fromkeys(
            ("SECRET_KEY", "DATABASE_URL", "SMTP_URL", "ADMIN_EMAIL", "WEATHER_URL"), "YQ=="
        )
        assert "keys that no pod gets" not in self.notes(tmp_path, secret(**known))
        said = self.notes(tmp_path, secret(**known, PUBLIC_URL="YQ==", username="YQ=="))
        assert (
            "It has keys that no pod gets: PUBLIC_URL, username. Settings that are no secrets belong" in said
        )

    def notes(self, folder: Path, found: Json) -> str:
        with cluster(folder, {SECRET: found}) as config:
            [values] = CASES["existing-secret"].files
            options = ("--kubeconfig", config, "-n", NAMESPACE, "-f", values, "--dry-run=server")
            done = run("4", "install", "tradepost", CHART, *options, "--disable-openapi-validation")
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:\n")[2]
