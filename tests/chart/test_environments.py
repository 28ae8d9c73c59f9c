"""k8s/: what environments differ in, and what they stand on; no second copy of what the chart makes."""

import re
from pathlib import Path

import pytest
import yaml

from tests.chart import admission, kubernetes
from tests.chart.chart import ENVIRONMENTS, REPOSITORY, Json, documents, of_kind, one, rendered
from tests.chart.restricted import violations

K8S = REPOSITORY / "k8s"
FOLDERS = ("dependencies", "production", "restore")
MANIFESTS = sorted(
    [*(file for folder in FOLDERS for file in K8S.glob(f"{folder}/*.yaml")), K8S / "verify.yaml"]
)


def objects(folder: str) -> list[Json]:
    return [each for file in sorted((K8S / folder).glob("*.yaml")) for each in documents(file)]


class TestManifests:
    @pytest.mark.parametrize("version", kubernetes.VERSIONS)
    @pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
    def test_every_object_is_what_kubernetes_takes(self, file: Path, version: str) -> None:
        found = documents(file)
        assert found
        assert [fault for each in found for fault in kubernetes.faults(each, version)] == []
        assert [fault for each in found for fault in admission.refused(each)] == []

    def test_none_of_it_is_the_charts(self) -> None:
        """Neither a file of it, nor an object that it would make under its usual name."""
        made = {
            (each["kind"], each["metadata"]["name"])
            for name in ("environment-dev", "environment-staging", "environment-production")
            for each in rendered(name)
        }
        own = {(each["kind"], each["metadata"]["name"]) for file in MANIFESTS for each in documents(file)}
        assert made & own == set()
        values = [yaml.safe_load(file.read_text()) for file in ENVIRONMENTS.glob("*.yaml")]
        assert [each for each in values if "kind" in each or "apiVersion" in each] == []

    def test_every_file_is_known(self) -> None:
        known = {*MANIFESTS, *ENVIRONMENTS.glob("*.yaml"), K8S / "kind.yaml", K8S / "README.md"}
        assert {file for file in K8S.rglob("*") if file.is_file()} == known


class TestDependencies:
    def test_they_get_into_a_restricted_namespace(self) -> None:
        namespaces = of_kind(objects("dependencies"), "Namespace")
        assert (
            namespaces["tradepost"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
            == "restricted"
        )
        sets = [each for each in objects("dependencies") if each["kind"] in {"Deployment", "StatefulSet"}]
        wrong = {each["metadata"]["name"]: violations(each["spec"]["template"]) for each in sets}
        assert wrong == {"postgresql": [], "mail": [], "collector": []}

    def test_postgresql_keeps_its_data_where_the_image_of_18_has_them(self) -> None:
        spec = one(objects("dependencies"), "StatefulSet")["spec"]
        [container] = spec["template"]["spec"]["containers"]
        assert container["image"] == "postgres:18"
        [claim] = spec["volumeClaimTemplates"]
        paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert paths[claim["metadata"]["name"]] == "/var/lib/postgresql"

    def test_every_database_has_the_same_collation(self) -> None:
        """The embedded server, compose, the cluster's PostgreSQL; CloudNativePG's own choice would be C."""
        [container] = one(objects("dependencies"), "StatefulSet")["spec"]["template"]["spec"]["containers"]
        [given] = [each["value"] for each in container["env"] if each["name"] == "POSTGRES_INITDB_ARGS"]
        compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
        assert given == compose["services"]["database"]["environment"]["POSTGRES_INITDB_ARGS"]
        options = dict(option.removeprefix("--").split("=") for option in given.split())
        assert all(
            f'"{option}"' in (REPOSITORY / "service" / "dev" / "embedded.py").read_text()
            for option in given.split()
        )
        initdb = one(objects("production"), "Cluster")["spec"]["bootstrap"]["initdb"]
        assert (initdb["localeProvider"], initdb["builtinLocale"]) == (
            options["locale-provider"],
            options["builtin-locale"],
        )
        assert initdb["localeCType"] == initdb["localeCollate"] == "C.UTF-8"

    def test_images_are_pinned(self) -> None:
        sets = [each for each in objects("dependencies") if each["kind"] in {"Deployment", "StatefulSet"}]
        images = [
            container["image"]
            for each in sets
            for container in each["spec"]["template"]["spec"]["containers"]
        ]
        assert len(images) == 3
        assert all(re.fullmatch(r"[\w/.-]+:v?\d[\w.]*", image) for image in images)

    def test_services_find_their_pods(self) -> None:
        sets = {
            each["metadata"]["name"]: each
            for each in objects("dependencies")
            if "template" in each.get("spec", {})
        }
        for name, service in of_kind(objects("dependencies"), "Service").items():
            template = sets[name]["spec"]["template"]
            assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
            ports = {port["name"] for each in template["spec"]["containers"] for port in each["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports

    def test_development_knows_where_they_are(self) -> None:
        services = of_kind(objects("dependencies"), "Service")
        known = {
            f"{name}:{port['port']}" for name, each in services.items() for port in each["spec"]["ports"]
        }
        text = (ENVIRONMENTS / "dev.yaml").read_text()
        assert set(re.findall(r"(?:@|//)([a-z]+:\d+)\b", text)) - {"localhost:8000"} <= known

    def test_policies_let_the_release_in(self) -> None:
        services = of_kind(objects("dependencies"), "Service")
        for name, policy in of_kind(objects("dependencies"), "NetworkPolicy").items():
            [rule] = policy["spec"]["ingress"]
            assert rule["from"] == [{"podSelector": {}}]
            assert {port["port"] for port in rule["ports"]} == {
                port["port"] for port in services[name]["spec"]["ports"]
            }


class TestProduction:
    def test_the_database_has_a_standby_and_backups(self) -> None:
        found = objects("production")
        cluster = one(found, "Cluster")
        assert cluster["spec"]["instances"] >= 2
        assert cluster["spec"]["postgresql"]["synchronous"]["number"] == 1
        [plugin] = cluster["spec"]["plugins"]
        assert plugin["isWALArchiver"]
        store, backup = one(found, "ObjectStore"), one(found, "ScheduledBackup")
        assert plugin["parameters"]["barmanObjectName"] == store["metadata"]["name"]
        assert backup["spec"]["cluster"]["name"] == cluster["metadata"]["name"]
        assert backup["spec"]["pluginConfiguration"]["name"] == plugin["name"]
        credentials = one(found, "ExternalSecret")["spec"]["target"]["name"]
        keys = store["spec"]["configuration"]["s3Credentials"].values()
        assert {key["name"] for key in keys} == {credentials}

    def test_the_chart_counts_on_its_connections(self) -> None:
        most = one(objects("production"), "Cluster")["spec"]["postgresql"]["parameters"]["max_connections"]
        values = yaml.safe_load((ENVIRONMENTS / "production.yaml").read_text())
        assert values["database"]["maxConnections"] == int(most) - 20

    def test_the_chart_finds_stores_database_and_its_pods(self) -> None:
        found = objects("production")
        stores = of_kind(found, "SecretStore").keys()
        for external in of_kind(rendered("environment-production"), "ExternalSecret").values():
            references = [external["spec"]["secretStoreRef"]]
            references += [each["sourceRef"]["storeRef"] for each in external["spec"]["data"]]
            assert {each["name"] for each in references} == stores
            [url] = external["spec"]["data"]
            name = one(found, "Cluster")["metadata"]["name"]
            assert (url["secretKey"], url["remoteRef"]) == (
                "DATABASE_URL",
                {"key": f"{name}-app", "property": "uri"},
            )
            [role] = of_kind(found, "Role").values()
            assert [f"{name}-app"] in [rule.get("resourceNames") for rule in role["rules"]]
        values = yaml.safe_load((ENVIRONMENTS / "production.yaml").read_text())
        [peer] = values["networkPolicy"]["egress"]["postgresql"]["to"]
        assert peer == {"podSelector": {"matchLabels": {"cnpg.io/cluster": name}}}

    def test_it_is_behind_a_gateway_scaled_and_watched(self) -> None:
        kinds = {each["kind"] for each in rendered("environment-production")}
        assert kinds >= {
            "HTTPRoute",
            "ScaledObject",
            "ServiceMonitor",
            "PodMonitor",
            "PrometheusRule",
        }
        assert (
            one(rendered("environment-production"), "ConfigMap", "tradepost")["data"]["ENVIRONMENT"]
            == "production"
        )


class TestEnvironments:
    def test_only_development_may_write_into_its_root(self) -> None:
        writing = {
            file.stem for file in ENVIRONMENTS.glob("*.yaml") if "readOnlyRootFilesystem" in file.read_text()
        }
        assert writing == {"dev-reload"}

    def test_none_but_development_has_secrets(self) -> None:
        having = {
            file.stem for file in ENVIRONMENTS.glob("*.yaml") if "secrets" in yaml.safe_load(file.read_text())
        }
        assert having == {"dev"}

    def test_released_pods_on_the_dependencies_of_development(self) -> None:
        """`prod-like` and `dev` differ in values alone, and it is as `minimal` is."""
        like = one(rendered("environment-prod-like"), "Deployment", "tradepost")["spec"]
        released = one(rendered("minimal"), "Deployment", "tradepost")["spec"]
        for key in ("minReadySeconds", "strategy", "replicas"):
            assert like[key] == released[key]
        ours, theirs = like["template"]["spec"], released["template"]["spec"]
        for key in ("securityContext", "terminationGracePeriodSeconds", "volumes"):
            assert ours[key] == theirs[key]
        [container], [other] = ours["containers"], theirs["containers"]
        assert {**container, "resources": 0} == {**other, "resources": 0}

    def test_code_is_read_anew_where_it_is_developed(self) -> None:
        [api] = one(rendered("environment-dev-reload"), "Deployment", "tradepost")["spec"]["template"][
            "spec"
        ]["containers"]
        [worker] = one(rendered("environment-dev-reload"), "Deployment", "-worker")["spec"]["template"][
            "spec"
        ]["containers"]
        assert (api["command"], api["args"]) == (["tradepost"], ["dev"])
        assert worker["command"][0] == "watchfiles"
        assert worker["args"] == ["tradepost worker", "/app/service"]

    def test_kind_has_zones(self) -> None:
        cluster = yaml.safe_load((K8S / "kind.yaml").read_text())
        zones = [node.get("labels", {}).get("topology.kubernetes.io/zone") for node in cluster["nodes"]]
        assert zones == [None, "a", "b"]
