"""What scales pods: by which numbers, up to where, and how slowly down."""

import re

import pytest
import yaml

from tests.chart import admission, kubernetes
from tests.chart.chart import CHART, HELMS, REPOSITORY, Json, of_kind, one, refused, rendered
from tests.chart.test_refusals import said

MEASURED = "monitoring.enabled=true,database.maxConnections=400"
KEDA = "autoscaling.engine=keda,autoscaling.keda.serverAddress=http://prometheus.monitoring:9090"
WORKERS = ("--set", f"worker.autoscaling.enabled=true,{MEASURED}")
WORKERS_BY_KEDA = ("--set", f"worker.autoscaling.enabled=true,{MEASURED},{KEDA}")
API_BY_KEDA = (
    "--set",
    f"autoscaling.enabled=true,autoscaling.targetRequestsInProgress=20,{MEASURED},{KEDA}",
)
POOLED = "database.pooler.address=tradepost-pooler:5432"
SLOWLY_DOWN: Json = {
    "stabilizationWindowSeconds": 300,
    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
}


def triggers(scaler: Json) -> dict[str, Json]:
    """By name; CPU has none."""
    return {each.get("name", each["type"]): each for each in scaler["spec"]["triggers"]}


class TestWorkers:
    def test_the_autoscaler_follows_the_age_of_the_oldest_job(self) -> None:
        objects = rendered("minimal", *WORKERS)
        scaler = one(objects, "HorizontalPodAutoscaler", "-worker")["spec"]
        assert scaler["scaleTargetRef"] == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "tradepost-worker",
        }
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 4)
        assert scaler["metrics"] == [
            {
                "type": "External",
                "external": {
                    "metric": {
                        "name": "job_oldest_waiting_seconds",
                        "selector": {"matchLabels": {"job": "tradepost"}},
                    },
                    "target": {"type": "Value", "value": "30"},
                },
            }
        ]
        assert "replicas" not in one(objects, "Deployment", "-worker")["spec"]
        assert one(objects, "Deployment", "tradepost")["spec"]["replicas"] == 2

    def test_so_does_keda_by_the_greatest_and_not_by_the_sum(self) -> None:
        """Every worker reports the same age. `Value` compares it as it is: more pods do not divide it."""
        scaler = one(rendered("minimal", *WORKERS_BY_KEDA), "ScaledObject", "-worker")
        assert scaler["spec"]["scaleTargetRef"]["name"] == "tradepost-worker"
        assert (scaler["spec"]["minReplicaCount"], scaler["spec"]["maxReplicaCount"]) == (1, 4)
        assert scaler["spec"]["triggers"] == [
            {
                "type": "prometheus",
                "name": "oldest-waiting-job",
                "metricType": "Value",
                "metadata": {
                    "serverAddress": "http://prometheus.monitoring:9090",
                    "query": 'max(job_oldest_waiting_seconds{namespace="shop", job="tradepost"})',
                    "threshold": "30",
                    "ignoreNullValues": "false",
                },
            }
        ]

    @pytest.mark.parametrize("major", HELMS)
    def test_never_to_none(self, major: str) -> None:
        """Without workers no metric says that jobs wait, and nothing starts what is due."""
        message = said(refused("--set", "worker.autoscaling.minReplicas=0", major=major))
        assert "/worker/autoscaling/minReplicas" in message.replace(".", "/")

    def test_without_workers_there_is_nothing_to_scale(self) -> None:
        objects = rendered("minimal", "--set", "worker.enabled=false,worker.autoscaling.enabled=true")
        assert of_kind(objects, "HorizontalPodAutoscaler") == {}


class TestApi:
    def test_requests_in_progress_stand_beside_cpu(self) -> None:
        options = f"autoscaling.enabled=true,autoscaling.targetRequestsInProgress=20,{MEASURED}"
        scaler = one(rendered("minimal", "--set", options), "HorizontalPodAutoscaler")
        cpu, requests = scaler["spec"]["metrics"]
        assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
        assert requests == {
            "type": "Pods",
            "pods": {
                "metric": {"name": "http_requests_in_progress"},
                "target": {"type": "AverageValue", "averageValue": "20"},
            },
        }

    def test_in_keda_too(self) -> None:
        found = triggers(one(rendered("minimal", *API_BY_KEDA), "ScaledObject"))
        assert found["cpu"] == {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}}
        requests = found["requests-in-progress"]
        assert (requests["metricType"], requests["metadata"]["threshold"]) == ("AverageValue", "20")
        assert requests["metadata"]["query"] == (
            'sum(avg_over_time(http_requests_in_progress{namespace="shop", job="tradepost"}[2m]))'
        )
        objects = rendered("minimal", *API_BY_KEDA)
        assert "replicas" not in one(objects, "Deployment", "tradepost")["spec"]
        assert of_kind(objects, "HorizontalPodAutoscaler") == {}

    def test_cpu_alone_needs_no_prometheus(self) -> None:
        options = "autoscaling.enabled=true,autoscaling.engine=keda"
        assert triggers(one(rendered("minimal", "--set", options), "ScaledObject")).keys() == {"cpu"}

    def test_another_engine_may_take_over(self) -> None:
        """Helm removes what is not rendered any more last: KEDA would refuse to scale beside it."""
        scaler = one(rendered("minimal", "--set", "autoscaling.enabled=true"), "HorizontalPodAutoscaler")
        assert scaler["metadata"]["annotations"] == {"validations.keda.sh/hpa-ownership": "false"}


class TestDown:
    """A pod that goes ends its streams with a hint and finishes its jobs; the next follows a minute later."""

    @pytest.mark.parametrize("options", [WORKERS, ("--set", "autoscaling.enabled=true")])
    def test_one_pod_a_minute(self, options: tuple[str, ...]) -> None:
        [scaler] = of_kind(rendered("minimal", *options), "HorizontalPodAutoscaler").values()
        assert scaler["spec"]["behavior"]["scaleDown"] == SLOWLY_DOWN

    @pytest.mark.parametrize("options", [WORKERS_BY_KEDA, API_BY_KEDA])
    def test_by_keda_too(self, options: tuple[str, ...]) -> None:
        [scaler] = of_kind(rendered("minimal", *options), "ScaledObject").values()
        behavior = scaler["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        assert behavior["scaleDown"] == SLOWLY_DOWN

    @pytest.mark.parametrize("suffix", ["tradepost", "-worker"])
    def test_a_pod_has_ended_before_the_next_is_told(self, suffix: str) -> None:
        spec = one(rendered("minimal"), "Deployment", suffix)["spec"]["template"]["spec"]
        [policy] = SLOWLY_DOWN["policies"]
        assert spec["terminationGracePeriodSeconds"] <= policy["periodSeconds"]


class TestPrometheus:
    def test_credentials_come_from_an_object_of_yours(self) -> None:
        reference = (
            "autoscaling.keda.authenticationRef.name=prometheus,"
            "autoscaling.keda.authenticationRef.kind=ClusterTriggerAuthentication"
        )
        options = (*WORKERS_BY_KEDA, "--set", reference, "--set", r"autoscaling.keda.authModes=basic\,tls")
        [trigger] = one(rendered("minimal", *options), "ScaledObject")["spec"]["triggers"]
        assert trigger["authenticationRef"] == {"name": "prometheus", "kind": "ClusterTriggerAuthentication"}
        assert trigger["metadata"]["authModes"] == "basic,tls"

    @pytest.mark.parametrize("major", HELMS)
    def test_it_must_have_the_metrics(self, major: str) -> None:
        options = "worker.autoscaling.enabled=true,database.maxConnections=400"
        message = said(refused("--set", options, major=major))
        assert (
            "worker.autoscaling.targetOldestSeconds: Prometheus must have the metrics."
            " Set monitoring.enabled; where it scrapes the pods already, with the labels namespace and"
            " job=tradepost, also monitoring.scrape.enabled: false."
        ) in message
        both = f"{options},autoscaling.enabled=true,autoscaling.targetRequestsInProgress=20"
        named = "autoscaling.targetRequestsInProgress and worker.autoscaling.targetOldestSeconds: Prometheus"
        assert named in said(refused("--set", both))

    def test_keda_must_know_where_it_is(self) -> None:
        options = f"worker.autoscaling.enabled=true,{MEASURED},autoscaling.engine=keda"
        message = "KEDA asks Prometheus. Set autoscaling.keda.serverAddress, such as"
        assert message in said(refused("--set", options))

    @pytest.mark.parametrize(
        "value",
        [
            "autoscaling.engine=vpa",
            "autoscaling.keda.serverAddress=prometheus:9090",
            "autoscaling.keda.serverAddress=http://user:password@prometheus:9090",
            "autoscaling.keda.authModes=password",
            "autoscaling.keda.authenticationRef.kind=Secret",
            "autoscaling.targetRequestsInProgress=-1",
            "worker.autoscaling.targetOldestSeconds=0",
            "worker.autoscaling.maxReplica=3",
        ],
    )
    def test_values_that_mean_nothing(self, value: str) -> None:
        assert "values don't meet the specifications of the schema" in refused("--set", value)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("spec", "maxReplicas"), 3),
            (("spec", "triggers", 0, "metadata", "threshold"), 30),
            (("spec", "triggers", 0, "metricTypes"), "Value"),
            (("spec", "triggers", 0, "type"), None),
            (("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDwon"), {}),
        ],
    )
    def test_a_mistake_in_kedas_object_is_found(self, path: tuple[str | int, ...], value: object) -> None:
        document = yaml.safe_load(yaml.safe_dump(one(rendered("minimal", *WORKERS_BY_KEDA), "ScaledObject")))
        assert kubernetes.faults(document, kubernetes.VERSIONS[0]) == []
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        if value is None:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        assert kubernetes.faults(document, kubernetes.VERSIONS[0]) != []

    def test_so_are_numbers_that_do_not_fit(self) -> None:
        scaler = one(rendered("minimal", *WORKERS_BY_KEDA), "ScaledObject")
        document = {**scaler, "spec": {**scaler["spec"], "minReplicaCount": 9}}
        assert admission.refused(document) == [
            "ScaledObject tradepost-worker: minReplicaCount exceeds maxReplicaCount"
        ]


class TestConnections:
    def test_the_workers_maximum_counts(self) -> None:
        options = "worker.autoscaling.enabled=true,worker.autoscaling.maxReplicas=6,monitoring.enabled=true"
        message = said(refused("--set", f"{options},database.maxConnections=104"))
        assert (
            "database.maxConnections is 104, but 105 connections could be open at once:"
            " API (2 pods + 1 surge) x 2 workers x (7 pool + 0 overflow + 1 listener) = 48;"
            " worker (6 pods + 1 surge) x (7 pool + 0 overflow + 1 listener) = 56; migration 1."
            " Lower api.replicas, worker.autoscaling.maxReplicas, api.workers or database.poolSize,"
        ) in message
        assert rendered("minimal", "--set", f"{options},database.maxConnections=105")

    def test_fewer_at_most_than_at_least(self) -> None:
        message = refused(*WORKERS, "--set", "worker.autoscaling.minReplicas=5")
        assert "worker.autoscaling.minReplicas is 5, more than worker.autoscaling.maxReplicas, 4" in message

    def test_behind_a_pooler_the_apis_are_the_poolers_but_for_those_that_listen(self) -> None:
        options = f"{POOLED},autoscaling.enabled=true,autoscaling.maxReplicas=40,database.maxConnections="
        message = said(refused("--set", f"{options}138"))
        assert (
            "database.maxConnections is 138, but 139 connections could be open at once:"
            " API 40 of the pooler + (40 pods + 1 surge) x 2 workers x 1 listener = 122;"
            " worker (1 pods + 1 surge) x (7 pool + 0 overflow + 1 listener) = 16; migration 1."
            " Lower database.pooler.serverConnections, autoscaling.maxReplicas, api.workers"
        ) in message
        assert rendered("minimal", "--set", f"{options}139")

    def test_the_pooler_has_an_end_too(self) -> None:
        options = f"{POOLED},api.replicas=9,database.pooler.maxClients="
        assert (
            "database.pooler.maxClients is 139, but the API could open 140 connections to the pooler:"
            " (9 pods + 1 surge) x 2 workers x (7 pool + 0 overflow). Lower api.replicas,"
        ) in said(refused("--set", f"{options}139"))
        assert rendered("minimal", "--set", f"{options}140")


class TestPooler:
    @pytest.mark.parametrize("prepares", ["true", "false"])
    def test_the_processes_know_where_it_is_and_what_it_keeps(self, prepares: str) -> None:
        options = f"{POOLED},database.pooler.preparedStatements={prepares}"
        settings = one(rendered("minimal", "--set", options), "ConfigMap", "tradepost")["data"]
        assert settings["DATABASE_POOLER"] == "tradepost-pooler:5432"
        assert settings["DATABASE_POOLER_PREPARES"] == prepares

    def test_without_one_nothing_is_said_of_it(self) -> None:
        assert not [
            name
            for name in one(rendered("minimal"), "ConfigMap", "tradepost")["data"]
            if name.startswith("DATABASE_POOLER")
        ]

    def test_its_port_must_be_let_through(self) -> None:
        pooled = "database.pooler.address=pgbouncer:6432"
        message = said(refused("--set", pooled))
        assert (
            "networkPolicy.egress.postgresql.ports lacks 6432, the port of database.pooler.address" in message
        )
        for more in (
            "networkPolicy.egress.postgresql.ports={5432,6432}",
            "networkPolicy.egress.postgresql.enabled=false",
            "networkPolicy.enabled=false",
        ):
            assert rendered("minimal", "--set", f"{pooled},{more}")

    @pytest.mark.parametrize("address", ["pgbouncer", "postgresql://pgbouncer:6432", "u:p@pgbouncer:6432"])
    def test_it_is_a_host_and_a_port(self, address: str) -> None:
        message = said(refused("--set-string", f"database.pooler.address={address}"))
        assert "values don't meet the specifications of the schema" in message


class TestExample:
    """The Pooler of docs/operations.md, and the values beside it."""

    PAGE = (REPOSITORY / "docs" / "operations.md").read_text()

    def test_cloudnativepg_takes_it(self) -> None:
        assert kubernetes.faults(self.pooler(), kubernetes.VERSIONS[0]) == []

    def test_the_values_fit_it(self) -> None:
        pooler = self.pooler()
        [text] = re.findall(r"`database\.pooler: (\{.*?\})`", self.PAGE)
        values, spec = yaml.safe_load(text), pooler["spec"]
        parameters = spec["pgbouncer"]["parameters"]
        assert values == {
            "address": f"{pooler['metadata']['name']}:5432",
            "preparedStatements": int(parameters["max_prepared_statements"]) > 0,
            "serverConnections": spec["instances"] * int(parameters["default_pool_size"]),
            "maxClients": spec["instances"] * int(parameters["max_client_conn"]),
        }
        assert spec["pgbouncer"]["poolMode"] == "transaction"

    def pooler(self) -> Json:
        blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", self.PAGE, re.DOTALL)]
        [found] = [block for block in blocks if block.get("kind") == "Pooler"]
        return dict(found)


class TestValues:
    def test_the_metrics_are_those_of_the_service(self) -> None:
        """A renamed metric would scale nothing, and nobody would see why."""
        templates = "".join(
            (CHART / "templates" / component / "autoscaler.yaml").read_text()
            for component in ("api", "worker")
        )
        named = set(re.findall(r"\b(?:http|job)_\w+", templates))
        assert named == {"http_requests_in_progress", "job_oldest_waiting_seconds"}
