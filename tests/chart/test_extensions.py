"""What values add to the chart's own objects, for every kind of pod alike; and what they may not."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.chart import CASES, HELMS, Json, of_kind, one, pods, refused, rendered, template
from tests.chart.restricted import violations
from tests.chart.test_refusals import pod_kinds, said

#: By the values that it has: its own container.
PODS = {"api": "api", "worker": "worker", "migrations": "migrate", "tasks": "verify", "smokeTest": "smoke"}
#: Fields of a pod that values alone set.
FIELDS = (
    "affinity", "dnsConfig", "dnsPolicy", "hostAliases", "hostUsers", "initContainers", "nodeSelector",
    "priorityClassName", "runtimeClassName", "schedulerName", "tolerations",
)  # fmt: skip
HOOK: Json = {"exec": {"command": ["true"]}}
PROXY: Json = {"name": "proxy", "image": "proxy:1"}
MISTAKES: Json = {
    "extraContainer": [],
    "extraContainers": [{"name": "a"}, {**PROXY, "resources": {"limit": {}}}],
    "initContainers": [{"name": "A", "image": "b"}, {**PROXY, "env": [{"name": "A", "valeu": "b"}]}],
    "extraVolumeMounts": [{"name": "tmp"}],
    "lifecycle": {"postStrat": {}},
    "hostAliases": [{"ip": "10.0.0.1", "hostname": "a"}, {"ip": "db", "hostnames": ["a"]}],
    "dnsPolicy": "Cluster",
    "dnsConfig": {"nameserver": []},
    "hostUsers": "no",
    "schedulerName": "A b",
    "podAnnotations": {"checksum/config": "mine", "a b": "c"},
}
SAID = (
    "': additional properties 'extraContainer' not allowed",
    "/extraContainers/0': missing property 'image'",
    "/extraContainers/1/resources': additional properties 'limit' not allowed",
    "/initContainers/0/name': 'A' does not match pattern",
    "/initContainers/1/env/0': additional properties 'valeu' not allowed",
    "/extraVolumeMounts/0': missing property 'mountPath'",
    "/lifecycle': additional properties 'postStrat' not allowed",
    "/hostAliases/0': additional properties 'hostname' not allowed",
    "/hostAliases/1/ip': 'db' does not match pattern",
    "/dnsPolicy': value must be one of '', 'ClusterFirst', 'Default', 'None'",
    "/dnsConfig': additional properties 'nameserver' not allowed",
    "/hostUsers': got string, want boolean",
    "/schedulerName': 'A b' does not match pattern",
    "/podAnnotations': validation failed",
)


def pod_of(objects: list[Json], kind: str) -> Json:
    """The one whose container is this kind's."""
    found = {name: pod for name, pod in pods(objects) if pod["spec"]["containers"][0]["name"] == PODS[kind]}
    if kind == "migrations":
        # Of the Job, and of the CronJob from which people make one.
        assert found.keys() == {"CronJob tradepost-migrate", "Job tradepost-migrate"}
        found = {name: pod for name, pod in found.items() if name.startswith("Job ")}
    [pod] = found.values()
    return pod


def values(kind: str) -> Json:
    [file] = CASES["extensions"].files
    found: Json = yaml.safe_load(file.read_text())[kind]
    return found


def with_values(kind: str, **given: Any) -> tuple[str, ...]:
    """As options, of one kind of pod."""
    return ("--set-json", f"{kind}={json.dumps(given)}")


def refusal(kind: str, **given: Any) -> str:
    return said(refused(*with_values(kind, **given)))


class TestEveryKindOfPod:
    def test_these_are_all(self) -> None:
        assert list(PODS) == pod_kinds()

    @pytest.mark.parametrize("kind", PODS)
    def test_it_has_what_its_values_say(self, kind: str) -> None:
        pod, given = pod_of(rendered("extensions"), kind), values(kind)
        spec = pod["spec"]
        for field in FIELDS:
            if field != "initContainers":
                assert spec.get(field) == given.get(field), field
        own, shipper = spec["containers"]
        [proxy] = spec["initContainers"]
        restricted = one(rendered("minimal"), "Job")["spec"]["template"]["spec"]["containers"][0][
            "securityContext"
        ]
        assert shipper == {**given["extraContainers"][0], "securityContext": restricted}
        assert proxy == {**given["initContainers"][0], "securityContext": {**restricted, "runAsGroup": 20002}}
        assert own["lifecycle"].items() >= given["lifecycle"].items()
        assert {"name": "SSL_CERT_FILE", "value": "/certificates/ca.pem"} in own["env"]
        assert given["extraVolumes"][0] in spec["volumes"]
        assert given["extraVolumeMounts"][0] in own["volumeMounts"]
        assert pod["metadata"]["annotations"]["example.com/of"] == "pod"
        assert pod["metadata"]["labels"].items() >= {"example.com/tier": "front", "team": "commerce"}.items()

    @pytest.mark.parametrize("kind", PODS)
    def test_it_has_nothing_that_no_value_asks_for(self, kind: str) -> None:
        spec = pod_of(rendered("minimal"), kind)["spec"]
        assert [field for field in FIELDS if field in spec] == []
        [container] = spec["containers"]
        assert container.get("lifecycle", {}).keys() == ({"preStop"} if kind == "api" else set())

    @pytest.mark.parametrize("kind", PODS)
    def test_the_services_own_container_is_the_one_that_commands_mean(self, kind: str) -> None:
        pod = pod_of(rendered("extensions"), kind)
        assert pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == PODS[kind]

    @pytest.mark.parametrize("kind", PODS)
    def test_every_mistake_is_refused_by_name(self, kind: str) -> None:
        message = refusal(kind, **MISTAKES)
        # Which of the two comes first is not Helm's to say.
        message += message.replace(
            "invalid propertyName 'checksum/config' - at '': 'not' failed - at '': ", ""
        )
        assert [each for each in SAID if f"at '/{kind}{each}" not in message] == []
        assert "invalid propertyName 'checksum/config'" in message
        assert "invalid propertyName 'a b'" in message

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"extraContainers": [{"name": "worker", "image": "b"}]}, "container worker is there twice"),
            ({"extraContainers": [PROXY], "initContainers": [PROXY]}, "container proxy is there twice"),
            ({"extraContainers": [{**PROXY, "env": [{"name": "A"}, {"name": "A"}]}]},
             "container proxy: variable A is there twice"),
            ({"extraVolumes": [{"name": "a"}, {"name": "a"}]}, "volume a is there twice"),
            ({"extraVolumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}, "mount /tmp is there twice"),
            ({"extraContainers": [{**PROXY, "volumeMounts": [{"name": "tmp", "mountPath": "/a"}] * 2}]},
             "container proxy: mount /a is there twice"),
            ({"hostAliases": [{"ip": "10.0.0.1", "hostnames": [name]} for name in "ab"]},
             "hostAliases of 10.0.0.1 is there twice"),
        ],
        ids=lambda given: str(given)[:40],
    )  # fmt: skip
    def test_what_server_side_apply_knows_by_a_key_is_there_once(self, given: Json, message: str) -> None:
        assert f"worker: {message}" in refusal("worker", **given)

    def test_a_mount_is_of_a_volume_that_is_there(self) -> None:
        mounts = [{"name": "lgos", "mountPath": "/logs"}]
        said = "mount /logs is of the volume lgos, which this pod has not"
        assert f"api: {said}" in refusal("api", extraVolumeMounts=mounts)
        given = [{**PROXY, "volumeMounts": mounts}]
        assert f"api: container proxy: {said}" in refusal("api", initContainers=given)

    def test_no_lookup_of_names_is_none(self) -> None:
        assert "smokeTest.dnsPolicy is None, which needs smokeTest.dnsConfig.nameservers" in refusal(
            "smokeTest", dnsPolicy="None"
        )


class TestContainers:
    @pytest.mark.parametrize("kind", PODS)
    def test_one_that_says_nothing_is_as_restricted_as_the_services_own(self, kind: str) -> None:
        requests = {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}}
        given = {"extraContainers": [{**PROXY, "resources": requests}]}
        assert violations(pod_of(rendered("minimal", *with_values(kind, **given)), kind)) == []

    def test_what_it_says_itself_has_the_say(self) -> None:
        given = {**PROXY, "securityContext": {"readOnlyRootFilesystem": False, "runAsUser": 65534}}
        pod = pod_of(rendered("minimal", *with_values("api", extraContainers=[given])), "api")
        assert pod["spec"]["containers"][1]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": False,
            "runAsUser": 65534,
        }

    @pytest.mark.parametrize(
        ("kind", "where", "name", "value"),
        [
            ("api", "extraContainers", "UPSTREAM", "postgresql://user:password@db.example/shop"),
            ("migrations", "initContainers", "SMTP_URL", "smtp://mail.example"),
        ],
    )
    def test_it_has_no_secret_as_plain_text(self, kind: str, where: str, name: str, value: str) -> None:
        given = {where: [{**PROXY, "env": [{"name": name, "value": value}]}]}
        message = refusal(kind, **given)
        assert f"{kind}: container proxy has {name} as plain text" in message
        assert value not in message

    def test_nor_among_its_arguments(self) -> None:
        for where in ("command", "args"):
            given = {**PROXY, where: ["run", "--upstream=postgresql://user:password@db.example/shop"]}
            message = refusal("worker", extraContainers=[given])
            assert "worker: container proxy has a URL with a password among its arguments" in message
            assert "password@" not in message

    @pytest.mark.parametrize(
        ("kind", "given"),
        [
            ("api", {"args": ["serve", "postgresql://user:password@db.example/shop"]}),
            (
                "worker",
                {"command": ["sh", "-c", "DATABASE_URL=postgresql://user:password@db/shop tradepost"]},
            ),
            ("smokeTest", {"lifecycle": {"postStart": {"exec": {"command": ["a", "redis://:password@b"]}}}}),
            (
                "migrations",
                {
                    "initContainers": [
                        {**PROXY, "lifecycle": {"preStop": {"exec": {"command": ["a://b:c@d"]}}}}
                    ]
                },
            ),
        ],
    )
    def test_nor_has_the_services_own_container_nor_a_hook(self, kind: str, given: Json) -> None:
        message = refusal(kind, **given)
        assert f"{kind}: " in message or f"{kind} " in message
        assert "has a URL with a password among its arguments" in message
        assert "password@" not in message

    @pytest.mark.parametrize(
        "handler",
        [{"sleep": {"seconds": 2}}, {"exec": None}, {"exec": {"command": [True, 1]}}, {}],
        ids=str,
    )
    def test_other_hooks_are_for_the_cluster_to_check(self, handler: Json) -> None:
        given = with_values("worker", lifecycle={"preStop": handler})
        [container] = pod_of(rendered("minimal", *given), "worker")["spec"]["containers"]
        assert container["lifecycle"] == {"preStop": handler}

    def test_it_may_have_one_by_reference(self) -> None:
        """Its names are its own, whatever the service's settings are called."""
        variable = {"name": "ADMIN_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "k"}}}
        given = {**PROXY, "env": [variable]}
        pod = pod_of(rendered("minimal", *with_values("api", extraContainers=[given])), "api")
        assert pod["spec"]["containers"][1]["env"] == [variable]


class TestLifecycle:
    @pytest.mark.parametrize("major", HELMS)
    def test_the_apis_drain_cannot_be_replaced(self, major: str) -> None:
        message = said(refused(*with_values("api", lifecycle={"preStop": HOOK}), major=major))
        assert (
            "api.lifecycle.preStop is the chart's own: its pods drain by it, for api.shutdown.drainSeconds"
            in message
        )

    def test_it_stays_beside_what_is_added(self) -> None:
        [plain] = pod_of(rendered("minimal"), "api")["spec"]["containers"]
        added = with_values("api", lifecycle={"postStart": HOOK})
        [container] = pod_of(rendered("minimal", *added), "api")["spec"]["containers"]
        assert container["lifecycle"] == {**plain["lifecycle"], "postStart": HOOK}

    @pytest.mark.parametrize("kind", [kind for kind in PODS if kind != "api"])
    def test_other_pods_have_none_of_the_charts(self, kind: str) -> None:
        given = {"postStart": HOOK, "preStop": HOOK}
        [container] = pod_of(rendered("minimal", *with_values(kind, lifecycle=given)), kind)["spec"][
            "containers"
        ]
        assert container["lifecycle"] == given


class TestImages:
    @pytest.mark.parametrize(
        ("registry", "repository", "image"),
        [
            ("", "registry.example/shop/tradepost", "registry.example/shop/tradepost:2"),
            ("mirror.example", "tradepost", "mirror.example/tradepost:2"),
            ("mirror.example", "shop/tradepost", "mirror.example/shop/tradepost:2"),
            ("mirror.example", "registry.example/shop/tradepost", "mirror.example/shop/tradepost:2"),
            ("mirror.example:5000/hub", "registry:5000/tradepost", "mirror.example:5000/hub/tradepost:2"),
            ("mirror.example", "localhost/tradepost", "mirror.example/tradepost:2"),
        ],
    )
    def test_a_registry_for_all_is_in_place_of_the_repositorys(
        self, registry: str, repository: str, image: str
    ) -> None:
        options = f"global.imageRegistry={registry},image.repository={repository},image.tag=2"
        found = pods(rendered("minimal", "--set-string", options))
        assert {pod["spec"]["containers"][0]["image"] for _, pod in found} == {image}

    @pytest.mark.parametrize("registry", ["https://mirror.example", "mirror.example/", "mirror example"])
    def test_what_is_no_registry_is_refused(self, registry: str) -> None:
        assert "at '/global/imageRegistry'" in refused("--set-string", f"global.imageRegistry={registry}")

    def test_pull_secrets_are_put_together_each_once(self) -> None:
        options = (
            "--set-json",
            'global.imagePullSecrets=["a",{"name":"b"}]',
            "--set-json",
            'image.pullSecrets=[{"name":"b"},"c"]',
        )
        for _, pod in pods(rendered("minimal", *options)):
            assert pod["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}, {"name": "c"}]

    @pytest.mark.parametrize("where", ["global.imagePullSecrets", "image.pullSecrets"])
    def test_a_pull_secret_has_a_name_and_nothing_else(self, where: str) -> None:
        for given in ('[{"nam":"a"}]', '[{"name":"a","key":"b"}]', '[""]', '"a"'):
            assert f"at '/{where.replace('.', '/')}" in refused("--set-json", f"{where}={given}")

    @pytest.mark.parametrize("major", HELMS)
    def test_a_tag_that_is_taken_away_is_the_charts(self, major: str) -> None:
        """As by `tag: null` in a file on top of one that has another."""
        for _, pod in pods(rendered("minimal", "--set", "image.tag=null", major=major)):
            assert pod["spec"]["containers"][0]["image"] == "tradepost:0.1.0"


class TestAnnotations:
    def test_every_object_has_the_common_ones(self) -> None:
        lacking = [
            each["metadata"]["name"]
            for each in rendered("extensions")
            if each["metadata"]["annotations"].get("example.com/owner") != "commerce"
        ]
        assert lacking == []

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("Deployment", "workload"), ("Job", "workload"), ("PodDisruptionBudget", "budget"),
            ("HorizontalPodAutoscaler", "autoscaler"), ("NetworkPolicy", "policy"),
            ("ServiceMonitor", "monitor"), ("PodMonitor", "monitor"), ("PrometheusRule", "rules"),
        ],
    )  # fmt: skip
    def test_each_kind_has_its_own(self, kind: str, said: str) -> None:
        found = of_kind(rendered("extensions"), kind)
        assert found
        assert {each["metadata"]["annotations"]["example.com/of"] for each in found.values()} == {said}

    def test_those_of_hooks_stay(self) -> None:
        def hooks(name: str) -> dict[tuple[str, str], dict[str, str]]:
            return {
                (each["kind"], each["metadata"]["name"]): found
                for each in rendered(name)
                if (
                    found := {
                        k: v for k, v in each["metadata"].get("annotations", {}).items() if "helm.sh" in k
                    }
                )
            }

        assert hooks("extensions") == hooks("minimal")

    @pytest.mark.parametrize(
        "where", ["commonAnnotations", "migrations.annotations", "smokeTest.podAnnotations"]
    )
    def test_no_value_makes_a_hook(self, where: str) -> None:
        message = said(refused("--set", rf"{where}.helm\.sh/hook=post-install"))
        assert "invalid propertyName 'helm.sh/hook'" in message


class TestService:
    @pytest.mark.parametrize(
        ("options", "policy", "families", "host"),
        [
            ("type=ClusterIP", None, None, None),
            ("ipFamilyPolicy=SingleStack,ipFamilies={IPv4}", "SingleStack", ["IPv4"], None),
            ("ipFamilies={IPv6}", None, ["IPv6"], "::"),
            ("ipFamilyPolicy=PreferDualStack", "PreferDualStack", None, "::"),
            (
                "ipFamilyPolicy=RequireDualStack,ipFamilies={IPv4,IPv6}",
                "RequireDualStack",
                ["IPv4", "IPv6"],
                "::",
            ),
        ],
    )
    def test_services_have_the_families_and_pods_listen_on_them(
        self, options: str, policy: str | None, families: list[str] | None, host: str | None
    ) -> None:
        inside = re.sub(r"(^|,)(?=\w+=)", r"\1api.service.", options)
        objects = rendered("minimal", "--set", f"{inside},monitoring.enabled=true")
        services = of_kind(objects, "Service")
        assert services.keys() == {"tradepost", "tradepost-metrics"}
        for service in services.values():
            assert (service["spec"].get("ipFamilyPolicy"), service["spec"].get("ipFamilies")) == (
                policy,
                families,
            )
        assert one(objects, "ConfigMap", "tradepost")["data"].get("HOST") == host

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("ipFamilyPolicy=DualStack", "at '/api/service/ipFamilyPolicy': value must be one of"),
            ("ipFamilies={IPv5}", "at '/api/service/ipFamilies/0': value must be one of 'IPv4', 'IPv6'"),
            ("ipFamilies={IPv4,IPv4}", "at '/api/service/ipFamilies': items at 0 and 1 are equal"),
            ("ipFamilies={IPv4,IPv6}", "ipFamilies has two, which needs api.service.ipFamilyPolicy"),
            ("loadBalancerClass=a/b", "api.service.loadBalancerClass is for the type LoadBalancer"),
            (
                "loadBalancerSourceRanges={192.0.2.0/24}",
                "api.service.loadBalancerSourceRanges is for the type LoadBalancer",
            ),
            ("loadBalancerSourceRanges={everyone}", "at '/api/service/loadBalancerSourceRanges/0'"),
        ],
    )
    def test_what_a_cluster_would_refuse_is_refused(self, option: str, message: str) -> None:
        assert message in said(refused("--set", f"api.service.{option}"))

    def test_a_host_that_is_given_has_the_say(self) -> None:
        options = ("--set", "api.service.ipFamilyPolicy=PreferDualStack,config.HOST=2001:db8::1")
        assert one(rendered("minimal", *options), "ConfigMap", "tradepost")["data"]["HOST"] == "2001:db8::1"


class TestExtraObjects:
    def given(self, folder: Path, *objects: Json | str) -> tuple[str, str]:
        file = folder / "values.yaml"
        file.write_text(yaml.safe_dump({"extraObjects": list(objects)}))
        return "-f", str(file)

    def test_texts_and_objects_are_templates(self) -> None:
        objects = rendered("extensions")
        extra = of_kind(objects, "ConfigMap")["tradepost-extra"]
        assert extra["data"] == {
            "image": "mirror.shop.example:5000/hub/commerce/tradepost:0.1.0",
            "pods": "2",
        }
        assert extra["metadata"]["labels"] == {"team": "commerce"}
        secret = of_kind(objects, "Secret")["tradepost-reports"]
        assert (
            secret["stringData"]["url"]
            == base64.b64decode(of_kind(objects, "Secret")["tradepost"]["data"]["DATABASE_URL"]).decode()
        )
        # Its own labels have the say.
        assert secret["metadata"]["labels"] == {"team": "reports"}

    def test_a_text_may_be_several_or_none(self, tmp_path: Path) -> None:
        assert of_kind(rendered("extensions"), "ConfigMap").keys() >= {"report-a", "report-b"}
        nothing = self.given(tmp_path, "{{ if eq .Values.environment `test` }}kind: ConfigMap{{ end }}")
        assert rendered("minimal", *nothing) == rendered("minimal")

    @pytest.mark.parametrize(
        "given",
        [
            {"kind": "ConfigMap", "metadata": {"name": "a"}},
            {"apiVersion": "v1", "metadata": {"name": "a"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"nam": "a"}},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": None},
            "a: b: c",
            "nothing",
            "- apiVersion: v1\n  kind: ConfigMap",
        ],
        ids=str,
    )
    def test_what_is_no_object_is_refused(self, tmp_path: Path, given: Json | str) -> None:
        other = {"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}}
        message = said(refused(*self.given(tmp_path, other, given)))
        assert (
            "extraObjects[1] is no object of Kubernetes: it needs apiVersion, kind and metadata.name"
            in message
        )

    def test_a_mistake_in_a_template_says_where(self, tmp_path: Path) -> None:
        assert "nowhere" in refused(*self.given(tmp_path, "kind: {{ .Values.nowhere.name }}"))

    @pytest.mark.parametrize("given", [3, ["a"], None])
    def test_other_things_are_refused(self, tmp_path: Path, given: Any) -> None:
        assert "at '/extraObjects/0'" in refused(*self.given(tmp_path, given))

    @pytest.mark.parametrize("name", ["secretKey", "databaseUrl"])
    def test_secrets_stand_in_secrets_alone(self, tmp_path: Path, name: str) -> None:
        secret = f"it is {{{{ .Values.secrets.{name} }}}}"

        def given(kind: str, text: str) -> tuple[str, str]:
            data = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, "stringData": {"a": text}}
            return self.given(tmp_path, data)

        message = refused(*given("ConfigMap", secret))
        assert f"extraObjects[0] (ConfigMap a) has secrets.{name} as plain text" in message
        assert "password@" not in message
        for kind, text in (("Secret", secret), ("ConfigMap", "it is public")):
            assert template("4", CASES["minimal"], *given(kind, text)).returncode == 0


class TestEnabled:
    @pytest.mark.parametrize("major", HELMS)
    def test_a_chart_of_its_own_is_not_switched_off(self, major: str) -> None:
        message = said(refused("--set", "enabled=false", major=major))
        assert "enabled is false, which switches nothing off here" in message
        assert "`condition: tradepost.enabled`" in message
        assert rendered("minimal", "--set", "enabled=true") == rendered("minimal")

    def test_it_is_yes_or_no(self) -> None:
        assert "at '/enabled': got string, want boolean" in refused("--set-string", "enabled=maybe")
