"""What does not render, and what is said of it."""

import json
import re
from functools import cache

import pytest
import yaml

from service.platform.config import Settings
from tests.chart.chart import CHART, HELMS, Json, one, refused, rendered

#: Settings that other values of the chart decide.
DECIDED = {
    "ENVIRONMENT", "PORT", "METRICS_PORT", "DATA_DIR", "SECRETS_DIR", "WEB_CONCURRENCY", "GRACEFUL_TIMEOUT",
    "DRAIN_FILE", "DATABASE_POOL_SIZE", "DATABASE_MAX_OVERFLOW", "READINESS_DATABASE", "TRUSTED_PROXIES",
    "RESPONSE_CACHE_BYTES", "DATABASE_POOLER", "DATABASE_POOLER_PREPARES",
}  # fmt: skip
SECRET = {
    "SECRET_KEY", "SECRET_KEYS_ACCEPTED", "DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "SMTP_URL",
    "ADMIN_EMAIL", "ADMIN_PASSWORD",
}  # fmt: skip
#: OpenTelemetry reads these by itself.
OF_THE_SDK = {
    "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_QUEUE_SIZE", "OTEL_METRIC_EXPORT_INTERVAL",
}  # fmt: skip


def said(text: str) -> str:
    """In one line."""
    return re.sub(r"\s+", " ", text)


@cache
def schema() -> Json:
    found: Json = json.loads((CHART / "values.schema.json").read_text())
    return found


def pod_kinds() -> list[str]:
    """The values that are of pods."""
    return [name for name, part in schema()["properties"].items() if part.get("$ref") == "#/definitions/pod"]


def whole(part: Json) -> Json:
    """With what the definition has that it adds to."""
    base = schema()["definitions"]["pod"] if part.get("$ref") == "#/definitions/pod" else {}
    properties = {**base.get("properties", {}), **part["properties"]}
    return {"properties": properties, "required": [*base.get("required", ()), *part.get("required", ())]}


class TestUnknownValues:
    @pytest.mark.parametrize(
        ("value", "where", "name"),
        [
            ("replicas=2", "''", "replicas"),
            ("api.replica=2", "'/api'", "replica"),
            ("api.service.prot=80", "'/api/service'", "prot"),
            ("config.LOG_LEVL=DEBUG", "'/config'", "LOG_LEVL"),
            ("config.SECRET_KEY=k", "'/config'", "SECRET_KEY"),
            ("networkPolicy.egress.smpt.enabled=true", "'/networkPolicy/egress'", "smpt"),
            ("monitoring.rules.label.a=b", "'/monitoring/rules'", "label"),
            ("api.resources.limit.memory=1Gi", "'/api/resources'", "limit"),
        ],
    )
    def test_they_fail_with_where(self, value: str, where: str, name: str) -> None:
        message = said(refused("--set", value))
        assert f"at {where}: additional properties '{name}' not allowed" in message

    def test_so_they_do_in_the_older_helm(self) -> None:
        assert "additional properties 'replica' not allowed" in refused("--set", "api.replica=2", major="3")

    @pytest.mark.parametrize(
        "value",
        [
            "environment=prod",
            "migrations.mode=jobs",
            "api.replicas=two",
            "api.workers=0",
            "image.digest=sha256:short",
            "database.readiness=strict",
            "fullnameOverride=1shop",
            "fullnameOverride=on",
            "publicPaths[0].path=/metrics,publicPaths[0].pathType=Prefix",
            "publicPaths[0].path=/livez,publicPaths[0].pathType=Exact",
            "publicPaths[0].path=//readyz,publicPaths[0].pathType=Exact",
            "publicPaths[0].path=/api/../readyz,publicPaths[0].pathType=Exact",
            # Not as YAML would show it, but as a second key of the same name.
            r"monitoring.rules.labels.app\.kubernetes\.io/part-of=kube-prometheus",
            "commonLabels.front office=a",
            "monitoring.runbooks=https://wiki.example/a: b",
            "networkPolicy.egress.redis.enabled=maybe",
            r"commonLabels.app\.kubernetes\.io/name=shop",
            r"worker.podLabels.app\.kubernetes\.io/part-of=shop",
            # What only the cluster would refuse, some of it long after.
            "commonLabels.team=front office",
            "existingSecret=My_Secret",
            "serviceAccount.name=My_Account",
            "image.repository=Registry/Tradepost",
            "ingress.hosts={Shop.example}",
            "gateway.hostnames={shop.example/}",
            "externalSecret.refreshInterval=hourly",
            "api.minReadySeconds=600",
            "api.maxSurge=0%",
            "api.extraVolumes[0].name=drain",
        ],
    )
    def test_so_do_values_that_mean_nothing(self, value: str) -> None:
        assert "values don't meet the specifications of the schema" in refused("--set", value)

    @pytest.mark.parametrize(
        ("group", "where"),
        [
            ("autoscaling", "''"),
            ("api.service", "'/api'"),
            ("api.service.port", "'/api/service'"),
            ("publicPaths", "''"),
        ],
    )
    def test_so_does_what_was_taken_away(self, group: str, where: str) -> None:
        message = said(refused("--set", f"{group}=null"))
        assert f"at {where}: missing property '{group.rpartition('.')[2]}'" in message

    def test_settings_may_be_empty(self) -> None:
        assert rendered("minimal", "--set", "config=null") == rendered("minimal")

    def test_the_schema_is_closed(self) -> None:
        """But for maps whose names are free, and objects that Kubernetes checks."""
        known = schema()
        free = {"strings", "labels", "annotations", "kubernetes", "amounts", "pod"}

        def open_ones(part: object, path: str) -> list[str]:
            if isinstance(part, list):
                return [found for each in part for found in open_ones(each, path)]
            if not isinstance(part, dict):
                return []
            named = "properties" in part and isinstance(part["properties"], dict)
            here = [path] if named and part.get("additionalProperties") is not False else []
            return here + [found for key, each in part.items() for found in open_ones(each, f"{path}/{key}")]

        # What is global is other charts' too.
        outside = {key: value for key, value in known.items() if key != "definitions"}
        assert open_ones(outside, "") == ["/properties/global"]
        loose = {
            name
            for name, part in known["definitions"].items()
            if part["type"] == "object" and part.get("additionalProperties") is not False
        }
        assert loose == free

    @pytest.mark.parametrize("kind", pod_kinds())
    def test_every_kind_of_pod_has_all_that_pods_have(self, kind: str) -> None:
        pod, found = schema()["definitions"]["pod"], schema()["properties"][kind]
        names = "|".join(sorted(pod["properties"]))
        assert found["patternProperties"] == {f"^({names})$": True}
        assert found["additionalProperties"] is False
        assert found["properties"].keys().isdisjoint(pod["properties"])

    def test_the_schema_knows_every_value_and_no_other(self) -> None:
        values = yaml.safe_load((CHART / "values.yaml").read_text())

        def compare(part: Json, given: object, path: str) -> list[str]:
            if "properties" not in part or not isinstance(given, dict) or not given:
                return []
            inner: dict[str, Json] = whole(part)["properties"]
            wrong = [f"{path}.{key}" for key in inner.keys() ^ given.keys()]
            both = inner.keys() & given.keys()
            return wrong + [each for key in both for each in compare(inner[key], given[key], f"{path}.{key}")]

        # A default would have precedence over the tags of a parent chart.
        assert compare(schema(), values, "") == [".enabled"]

    def test_a_value_that_has_a_default_cannot_be_taken_away(self) -> None:
        """`null` takes it away, and templates would write nothing where Kubernetes wants a number."""
        values = yaml.safe_load((CHART / "values.yaml").read_text())

        def loose(part: Json, given: Json, path: str) -> list[str]:
            if "properties" not in part:
                return []
            part = whole(part)
            wanted = {
                key for key, value in given.items() if not isinstance(value, dict | list) and value != ""
            }
            inner = {key: value for key, value in given.items() if isinstance(value, dict)}
            return [f"{path}.{key}" for key in wanted - {*part.get("required", ())}] + [
                name
                for key, value in inner.items()
                for name in loose(part["properties"].get(key, {}), value, f"{path}.{key}")
            ]

        assert loose(schema(), values, "") == []

    def test_config_knows_every_setting_that_is_no_secret(self) -> None:
        names = {name.upper() for name in Settings.model_fields}
        assert set(schema()["properties"]["config"]["properties"]) == (names - DECIDED - SECRET) | OF_THE_SDK

    def test_an_account_that_goes_with_the_migration_is_not_the_pods(self) -> None:
        """Two objects of one name: Helm would delete the one that the pods have."""
        message = refused("--set", "serviceAccount.name=tradepost-migrate")
        assert "serviceAccount.name is tradepost-migrate, which is the migration's own" in said(message)
        for also in ("migrations.mode=job", "serviceAccount.create=false"):
            assert rendered("minimal", "--set", f"serviceAccount.name=tradepost-migrate,{also}")


class TestSecrets:
    def test_none(self) -> None:
        message = refused("--set", "secrets.secretKey=")
        assert "Set secrets.secretKey (`tradepost generate-key` makes one) and secrets.databaseUrl" in message

    def test_two_sources(self) -> None:
        for other in ("existingSecret=mine", "externalSecret.enabled=true"):
            assert "Secrets come from one place" in refused("--set", other)
        assert "Secrets come from one place" in refused("--set", "existingSecret=x", name="external-secret")

    def test_an_external_secret_without_store_or_content(self) -> None:
        for lacking in (
            "externalSecret.storeRef.name=",
            "externalSecret.data=null,externalSecret.dataFrom=null",
        ):
            message = refused("--set", lacking, name="external-secret")
            assert "externalSecret needs storeRef.name, and data or dataFrom" in message

    @pytest.mark.parametrize("given", ["adminEmail", "adminPassword"])
    def test_half_an_administrator(self, given: str) -> None:
        assert "both secrets.adminEmail and secrets.adminPassword" in refused("--set", f"secrets.{given}=x")

    def test_a_mail_server_without_a_sender(self) -> None:
        assert "needs config.MAIL_FROM" in refused("--set", "secrets.smtpUrl=smtp://mail:25")
        assert rendered("minimal", "--set", "secrets.smtpUrl=smtp://mail:25,config.MAIL_FROM=a@b.example")


class TestProxies:
    GATEWAY = "gateway.enabled=true,gateway.parentRefs[0].name=public"
    LOAD_BALANCER, NODE_PORT = "api.service.type=LoadBalancer", "api.service.type=NodePort"
    LOCAL = "api.service.externalTrafficPolicy=Local"

    @pytest.mark.parametrize("way_in", ["ingress.enabled=true", GATEWAY, LOAD_BALANCER, NODE_PORT])
    @pytest.mark.parametrize("major", HELMS)
    def test_behind_a_proxy_that_is_not_trusted_everyone_would_share_a_limit(
        self, major: str, way_in: str
    ) -> None:
        for untrusted in ("", ",trustedProxies=null", f",{self.LOCAL}" if "service" in way_in else ""):
            message = refused("--set", way_in + untrusted, major=major)
            assert "set trustedProxies" in message
            assert "everyone shares one rate limit" in message
        objects = rendered("minimal", "--set", f"{way_in},trustedProxies={{10.0.0.0/8}}", major=major)
        settings = one(objects, "ConfigMap", "tradepost")["data"]
        assert settings["TRUSTED_PROXIES"] == "10.0.0.0/8"

    @pytest.mark.parametrize(
        ("network", "widest"),
        [("0.0.0.0/0", 8), ("10.0.0.0/7", 8), ("::/0", 16), ("2000::/8", 16), ("fc00::/7", 8)],
    )
    @pytest.mark.parametrize("major", HELMS)
    def test_a_network_of_nearly_everyone_is_no_proxys(self, major: str, network: str, widest: int) -> None:
        """The pods would not start."""
        message = refused("--set", f"trustedProxies={{10.244.0.0/16,{network}}}", major=major)
        assert (
            f"trustedProxies has {network}, which the service refuses: it is wider than /{widest}" in message
        )
        options = ("--set", "trustedProxies={10.0.0.0/8,fd00::/8,2400:cb00::/32,192.0.2.1}")
        assert rendered("minimal", *options, major=major)

    def test_the_hosts_that_are_answered_include_the_services_own(self) -> None:
        """By which `helm test` asks."""
        objects = rendered("minimal", "--set", "config.ALLOWED_HOSTS=shop.example")
        assert one(objects, "ConfigMap", "tradepost")["data"]["ALLOWED_HOSTS"] == (
            "shop.example,tradepost,tradepost.shop,tradepost.shop.svc,tradepost.shop.svc.cluster.local"
        )

    @pytest.mark.parametrize("way_in", [LOAD_BALANCER, NODE_PORT])
    @pytest.mark.parametrize("major", HELMS)
    def test_clients_that_no_proxy_stands_before_are_known_by_their_own_address(
        self, major: str, way_in: str
    ) -> None:
        options = ("--set", f"{way_in},{self.LOCAL},trustedProxies=none")
        objects = rendered("minimal", *options, major=major)
        assert one(objects, "Service", "tradepost")["spec"]["externalTrafficPolicy"] == "Local"
        assert "TRUSTED_PROXIES" not in one(objects, "ConfigMap", "tradepost")["data"]

    @pytest.mark.parametrize("way_in", [LOAD_BALANCER, NODE_PORT])
    @pytest.mark.parametrize("policy", ["", ",api.service.externalTrafficPolicy=Cluster"])
    def test_a_node_that_puts_its_address_in_place_of_theirs_is_refused(
        self, way_in: str, policy: str
    ) -> None:
        message = refused("--set", f"{way_in},trustedProxies=none{policy}")
        assert "trustedProxies is none, which needs api.service.externalTrafficPolicy: Local" in message

    @pytest.mark.parametrize("way_in", ["ingress.enabled=true", GATEWAY])
    def test_none_is_no_answer_where_there_is_a_proxy(self, way_in: str) -> None:
        also = f"{self.LOAD_BALANCER},{self.LOCAL},trustedProxies=none"
        assert "trustedProxies is none, but with " in refused("--set", f"{way_in},{also}")

    def test_inside_the_cluster_no_proxies_need_be_named(self) -> None:
        assert "TRUSTED_PROXIES" not in one(rendered("minimal"), "ConfigMap", "tradepost")["data"]
        assert rendered("minimal", "--set", "trustedProxies=none")

    @pytest.mark.parametrize(
        "value", ["trustedProxies=all", "trustedProxies=10.0.0.0/8", "trustedProxies={none}"]
    )
    def test_any_other_word_means_nothing(self, value: str) -> None:
        assert "values don't meet the specifications of the schema" in refused("--set", value)

    def test_there_is_no_third_way_in(self) -> None:
        """By addresses of the Service's own, say."""
        message = said(refused("--set", "api.service.externalIPs={192.0.2.1}"))
        assert "at '/api/service': additional properties 'externalIPs' not allowed" in message

    def test_the_policy_is_of_services_that_strangers_reach(self) -> None:
        """The API server would refuse it."""
        assert "is for the types NodePort and LoadBalancer" in refused("--set", self.LOCAL)

    def test_everything_is_too_much_to_let_in(self) -> None:
        """The probes are on the same port."""
        message = refused("--set", "publicPaths[0].path=/,publicPaths[0].pathType=Prefix")
        assert "publicPaths has / as Prefix, which lets the probes in too: name the paths" in said(message)
        exactly = "publicPaths[0].path=/,publicPaths[0].pathType=Exact"
        assert rendered("minimal", "--set", exactly)

    def test_a_gateway_needs_a_name(self) -> None:
        options = ("--set", "gateway.enabled=true,trustedProxies={10.0.0.0/8}")
        assert "gateway.parentRefs must name the Gateways" in refused(*options)


class TestAutoscaling:
    def test_fewer_at_most_than_at_least(self) -> None:
        """The API server would refuse the autoscaler, and Helm leave a release that failed."""
        message = refused("--set", "autoscaling.enabled=true,autoscaling.minReplicas=5")
        assert "autoscaling.minReplicas is 5, more than autoscaling.maxReplicas, 4" in message
        assert rendered("minimal", "--set", "autoscaling.enabled=true,autoscaling.minReplicas=4")

    def test_a_container_without_a_cpu_request_would_stop_the_autoscaler(self) -> None:
        """Neither Kubernetes's nor KEDA's scales a pod that has one."""
        sidecar = '{"name":"NAME","image":"proxy:1","restartPolicy":"Always"}'
        options = (
            *("--set", "autoscaling.enabled=true,api.resources.requests.cpu=null"),
            *("--set-json", f"api.extraContainers=[{sidecar.replace('NAME', 'shipper')}]"),
            *("--set-json", f"api.initContainers=[{sidecar.replace('NAME', 'proxy')}]"),
        )
        message = said(refused(*options))
        assert (
            "these have none: the API (api.resources), container shipper of api.extraContainers,"
            " container proxy of api.initContainers. Set resources.requests.cpu of each."
        ) in message
        for where in ("requests", "limits"):
            given = f'{{"name":"a","image":"b","resources":{{"{where}":{{"cpu":"10m"}}}}}}'
            sidecars = ("--set-json", f"api.extraContainers=[{given}]")
            assert rendered("minimal", "--set", "autoscaling.enabled=true", *sidecars)
        first = ("--set-json", 'api.initContainers=[{"name":"a","image":"b"}]')
        assert rendered("minimal", "--set", "autoscaling.enabled=true", *first)

    @pytest.mark.parametrize("given", ["authModes=bearer", "authenticationRef.kind=TriggerAuthentication"])
    def test_credentials_for_prometheus_are_in_an_object_that_has_a_name(self, given: str) -> None:
        options = f"autoscaling.enabled=true,autoscaling.engine=keda,autoscaling.keda.{given}"
        assert "need autoscaling.keda.authenticationRef.name" in said(refused("--set", options))
        assert rendered("minimal", "--set", f"{options},autoscaling.keda.authenticationRef.name=prometheus")


class TestScraping:
    @pytest.mark.parametrize(("interval", "timeout"), [("5s", "10s"), ("1m", "61s"), ("30s", "1h")])
    def test_an_answer_may_not_take_longer_than_the_interval(self, interval: str, timeout: str) -> None:
        options = f"monitoring.scrape.interval={interval},monitoring.scrape.timeout={timeout}"
        assert f"timeout is {timeout}, longer than" in said(refused("--set", options))

    @pytest.mark.parametrize(("interval", "timeout"), [("10s", "10s"), ("1m", "59s"), ("1h", "30s")])
    def test_as_long_it_may(self, interval: str, timeout: str) -> None:
        options = f"monitoring.scrape.interval={interval},monitoring.scrape.timeout={timeout}"
        assert rendered("minimal", "--set", options)


class TestConnections:
    """PostgreSQL refuses what is too much at the worst moment; the chart does so before."""

    @pytest.mark.parametrize("major", HELMS)
    def test_the_message_has_the_arithmetic(self, major: str) -> None:
        options = ("--set", "autoscaling.enabled=true,autoscaling.maxReplicas=10,database.maxConnections=100")
        assert (
            "database.maxConnections is 100, but 193 connections could be open at once:"
            " API (10 pods + 1 surge) x 2 workers x (7 pool + 0 overflow + 1 listener) = 176;"
            " worker (1 pods + 1 surge) x (7 pool + 0 overflow + 1 listener) = 16;"
            " migration 1. Lower autoscaling.maxReplicas, api.workers or database.poolSize,"
            " or let PostgreSQL have more and say so here."
        ) in said(refused(*options, major=major))

    @pytest.mark.parametrize(
        ("values", "needed"),
        [
            ("api.replicas=2", (2 + 1) * 2 * 8 + (1 + 1) * 8 + 1),
            ("api.replicas=5,api.maxSurge=25%", (5 + 2) * 2 * 8 + (1 + 1) * 8 + 1),
            ("api.replicas=4,api.maxSurge=25%", (4 + 1) * 2 * 8 + (1 + 1) * 8 + 1),
            ("api.workers=4,worker.replicas=3", (2 + 1) * 4 * 8 + (3 + 1) * 8 + 1),
            ("worker.enabled=false", (2 + 1) * 2 * 8 + 1),
            ("worker.replicas=0", (2 + 1) * 2 * 8 + 1),
            ("migrations.mode=none", (2 + 1) * 2 * 8 + (1 + 1) * 8),
            ("database.poolSize=10,database.maxOverflow=0", (2 + 1) * 2 * 11 + (1 + 1) * 11 + 1),
            ("autoscaling.enabled=true,api.replicas=50", (4 + 1) * 2 * 8 + (1 + 1) * 8 + 1),
        ],
    )
    def test_the_last_that_fits_and_the_first_that_does_not(self, values: str, needed: int) -> None:
        assert rendered("minimal", "--set", f"{values},database.maxConnections={needed}")
        message = refused("--set", f"{values},database.maxConnections={needed - 1}")
        assert f"{needed} connections could be open at once" in said(message)

    def test_the_autoscaler_as_it_comes_fits_postgresql_as_it_comes(self) -> None:
        assert rendered("minimal", "--set", "autoscaling.enabled=true")

    def test_it_can_be_left_unchecked(self) -> None:
        assert rendered("minimal", "--set", "api.replicas=500,database.maxConnections=0")


class TestExtraEnvironment:
    @pytest.mark.parametrize(
        ("component", "name"),
        [("api", "WEB_CONCURRENCY"), ("api", "OTEL_EXPORTER_OTLP_HEADERS"), ("worker", "GRACEFUL_TIMEOUT"),
         ("migrations", "ENVIRONMENT")],
    )  # fmt: skip
    def test_a_duplicate_name_is_refused_when_rendering(self, component: str, name: str) -> None:
        options = ("--set", f"{component}.extraEnv[0].name={name},{component}.extraEnv[0].value=x")
        assert f"{component}: extraEnv has {name}, which the chart sets already" in refused(*options)

    def test_nor_may_it_name_one_itself_twice(self) -> None:
        twice = ",".join(f"api.extraEnv[{at}].name=A,api.extraEnv[{at}].value=x" for at in (0, 1))
        assert "api: extraEnv has A" in refused("--set", twice)
