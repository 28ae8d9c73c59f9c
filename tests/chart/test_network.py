"""Who may talk to whom: policies, and the ways in from outside."""

import ipaddress
import json

import pytest

from tests.chart.chart import CASES, REPOSITORY, Json, of_kind, one, pods, refused, rendered

INNER = (
    *("10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.64.0.1", "0.0.0.1"),
    *("::1", "fd00::1", "fe80::1"),
)
OUTER = ("1.1.1.1", "93.184.216.34", "2606:4700::1111")


def selects(selector: Json, labels: dict[str, str]) -> bool:
    rules = selector.get("matchExpressions", [])
    assert {rule["operator"] for rule in rules} <= {"In"}
    return bool(selector["matchLabels"].items() <= labels.items()) and all(
        labels.get(rule["key"]) in rule["values"] for rule in rules
    )


def policies(objects: list[Json], component: str) -> list[Json]:
    """Those that hold for the pods of a component."""
    labels = [
        pod["metadata"]["labels"]
        for _, pod in pods(objects)
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    return [
        policy["spec"]
        for policy in of_kind(objects, "NetworkPolicy").values()
        if selects(policy["spec"]["podSelector"], labels[0])
    ]


def rules_to(objects: list[Json], component: str, port: int) -> list[Json]:
    """Rules of egress that let it reach that port."""
    return [
        rule
        for policy in policies(objects, component)
        for rule in policy.get("egress", [])
        if port in {each["port"] for each in rule["ports"]}
    ]


def ports_out(objects: list[Json], component: str) -> set[int]:
    found = [policy.get("egress", []) for policy in policies(objects, component)]
    return {each["port"] for rules in found for rule in rules for each in rule["ports"]}


def lets(rule: Json, address: str) -> bool:
    ip = ipaddress.ip_address(address)

    def inside(network: str) -> bool:
        return (
            ip in ipaddress.ip_network(network)
            if ipaddress.ip_network(network).version == ip.version
            else False
        )

    blocks = [peer["ipBlock"] for peer in rule["to"]]
    return any(inside(each["cidr"]) and not any(map(inside, each["except"])) for each in blocks)


class TestDenial:
    @pytest.mark.parametrize("name", sorted(CASES.keys() - {"bare"}))
    def test_every_pod_starts_from_nothing(self, name: str) -> None:
        """One policy selects them all and has no rule; each has one of its own with what it may."""
        objects = rendered(name)
        for _, pod in pods(objects):
            component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            closed, *own = sorted(policies(objects, component), key=len)
            assert closed.keys() == {"podSelector", "policyTypes"}
            # A hook's goes with it; the one of commands lets people migrate. A rehearsal may need none.
            twice = component == "migration" and bool(of_kind(objects, "Job"))
            alone = component == "rehearsal" and name == "rehearsal"
            assert len(own) == 1 + twice - alone
            assert [each["policyTypes"] for each in [closed, *own]] == [["Ingress", "Egress"]] * (
                1 + len(own)
            )
            assert all(rule["ports"] for each in own for rule in each["egress"])

    def test_policies_can_be_left_out(self) -> None:
        assert of_kind(rendered("bare"), "NetworkPolicy") == {}


class TestEgress:
    def test_each_component_reaches_what_it_needs_and_no_more(self) -> None:
        few, all_of_it = rendered("minimal"), rendered("everything")
        assert {name: ports_out(few, name) for name in ("api", "worker", "migration", "smoke-test")} == {
            "api": {53, 5432, 443},
            "worker": {53, 5432, 443},
            "migration": {53, 5432},
            "smoke-test": {53, 8000},
        }
        assert ports_out(all_of_it, "api") == {53, 5432, 443, 6379, 4318, 8443}
        assert ports_out(all_of_it, "worker") == {53, 5432, 443, 4318, 465, 587, 8443}
        assert ports_out(all_of_it, "migration") == {53, 5432}
        for command in ("verify", "create-admin", "import", "check-config"):
            assert ports_out(few, command) == ports_out(all_of_it, command) == {53, 5432}
        assert ports_out(all_of_it, "rehearsal") == {53, 5432}
        assert ports_out(rendered("rehearsal"), "rehearsal") == set()

    def test_what_a_secret_of_yours_may_hold_is_let_out(self) -> None:
        assert ports_out(rendered("existing-secret"), "api") == {53, 5432, 443, 6379}
        assert ports_out(rendered("existing-secret"), "worker") == {53, 5432, 443, 465, 587}

    @pytest.mark.parametrize(
        ("value", "component", "port"),
        [
            ("dns", "api", 53),
            ("postgresql", "migration", 5432),
            ("redis", "api", 6379),
            ("otlp", "worker", 4318),
            ("smtp", "worker", 587),
            ("internet", "worker", 443),
        ],
    )
    def test_each_is_a_value(self, value: str, component: str, port: int) -> None:
        off = rendered("everything", "--set", f"networkPolicy.egress.{value}.enabled=false")
        assert port not in ports_out(off, component)
        on = f"networkPolicy.egress.{value}.enabled=true,networkPolicy.egress.{value}.ports={{{port + 1}}}"
        assert {port + 1} <= ports_out(rendered("minimal", "--set", on), component)

    @pytest.mark.parametrize("component", ["api", "worker"])
    @pytest.mark.parametrize("signal", ["", "Traces", "Logs", "Metrics"])
    def test_a_collector_of_any_signal_is_seen(self, signal: str, component: str) -> None:
        url = "http://collector.example:4318"
        name = "_".join(filter(None, ["OTEL_EXPORTER_OTLP", signal.upper(), "ENDPOINT"]))
        assert 4318 not in ports_out(rendered("minimal"), component)
        for given in (f"config.{name}={url}", f"secrets.otlp{signal}Endpoint={url}"):
            assert 4318 in ports_out(rendered("minimal", "--set", given), component)

    def test_a_destination_narrows_it(self) -> None:
        of_the_hook, of_commands = rules_to(rendered("environment-production"), "migration", 5432)
        assert of_the_hook == of_commands
        assert of_commands["to"] == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "tradepost-db"}}}]

    @pytest.mark.parametrize("component", ["api", "worker"])
    def test_the_internet_is_not_the_inner_network(self, component: str) -> None:
        [rule] = rules_to(rendered("minimal"), component, 443)
        assert {address: lets(rule, address) for address in INNER} == dict.fromkeys(INNER, False)
        assert {address: lets(rule, address) for address in OUTER} == dict.fromkeys(OUTER, True)

    def test_exceptions_lie_within_what_they_are_exceptions_of(self) -> None:
        [rule] = rules_to(rendered("minimal"), "api", 443)
        for block in (peer["ipBlock"] for peer in rule["to"]):
            whole = ipaddress.ip_network(block["cidr"])
            for each in map(ipaddress.ip_network, block["except"]):
                assert each.version == whole.version
                assert each.prefixlen > whole.prefixlen

    def test_names_are_asked_over_both_protocols(self) -> None:
        [rule] = rules_to(rendered("minimal"), "api", 53)
        assert {each["protocol"] for each in rule["ports"]} == {"UDP", "TCP"}

    @pytest.mark.parametrize("to", ["dns", "postgresql", "redis", "otlp", "smtp", "internet"])
    def test_ports_that_are_taken_away_do_not_open_all(self, to: str) -> None:
        """A rule without ports is one for every port."""
        message = refused("--set", f"networkPolicy.egress.{to}.ports=null")
        assert f"at '/networkPolicy/egress/{to}': missing property 'ports'" in message


class TestIngress:
    def ways_in(self, name: str, component: str) -> dict[int, list[Json] | None]:
        """By port: who, or None for everyone."""
        found = [policy.get("ingress", []) for policy in policies(rendered(name), component)]
        return {each["port"]: rule.get("from") for rules in found for rule in rules for each in rule["ports"]}

    def test_customers_reach_the_api_and_prometheus_the_metrics(self) -> None:
        assert self.ways_in("minimal", "api") == {8000: None, 9090: [{"namespaceSelector": {}}]}
        assert self.ways_in("minimal", "worker") == {9090: [{"namespaceSelector": {}}]}
        assert self.ways_in("minimal", "migration") == self.ways_in("minimal", "smoke-test") == {}

    def test_where_only_a_gateway_may_the_smoke_test_still_does(self) -> None:
        gateway = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}
        first, second = self.ways_in("everything", "api")[8000] or []
        assert first == gateway
        labels = one(rendered("everything"), "Pod")["metadata"]["labels"]
        assert selects(second["podSelector"], labels)

    def test_the_smoke_test_reaches_the_api_only(self) -> None:
        [rule] = rules_to(rendered("minimal"), "smoke-test", 8000)
        labels = one(rendered("minimal"), "Deployment", "tradepost")["spec"]["template"]["metadata"]["labels"]
        assert [selects(peer["podSelector"], labels) for peer in rule["to"]] == [True]


class TestWaysIn:
    def paths(self, kind: str, name: str = "environment-production") -> list[tuple[str, str]]:
        if kind == "HTTPRoute":
            [rule] = one(rendered(name), kind)["spec"]["rules"]
            found = [match["path"] for match in rule["matches"]]
            return [(each["type"].replace("PathPrefix", "Prefix"), each["value"]) for each in found]
        [rule, *_] = one(rendered(name), kind)["spec"]["rules"]
        return [(each["pathType"], each["path"]) for each in rule["http"]["paths"]]

    def open_to(self, path: str, paths: list[tuple[str, str]]) -> bool:
        return any(
            path == each or (kind == "Prefix" and path.startswith(f"{each.rstrip('/')}/"))
            for kind, each in paths
        )

    def test_both_let_in_the_same(self) -> None:
        assert self.paths("Ingress", "everything") == self.paths("HTTPRoute", "everything")

    def test_public_routes_are_and_others_are_not(self) -> None:
        document = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
        paths = self.paths("HTTPRoute")
        closed = {path for path in document["paths"] if not self.open_to(path, paths)}
        assert closed == {"/", "/livez", "/readyz", "/startupz"}
        assert not any(
            self.open_to(path, paths) for path in ("/metrics", "/docs", "/openapi.json", "/api/v2")
        )

    def test_the_documentation_is_where_it_is_served(self) -> None:
        paths = self.paths("Ingress", "environment-staging")
        assert [
            self.open_to(path, paths) for path in ("/docs", "/docs/assets/x.js", "/redoc", "/openapi.json")
        ] == ([True] * 4)

    def test_they_lead_to_the_api_and_never_to_the_metrics(self) -> None:
        objects = rendered("everything")
        service = one(objects, "Service", "shop")
        assert [port["name"] for port in service["spec"]["ports"]] == ["http"]
        [rule] = one(objects, "HTTPRoute")["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": "shop", "port": 80}]
        for each in one(objects, "Ingress")["spec"]["rules"]:
            backends = [path["backend"]["service"] for path in each["http"]["paths"]]
            assert backends == [{"name": "shop", "port": {"name": "http"}}] * len(backends)

    def test_every_host_has_the_same_paths(self) -> None:
        rules = one(rendered("everything"), "Ingress")["spec"]["rules"]
        assert [rule["host"] for rule in rules] == ["shop.example", "www.shop.example"]
        assert rules[0]["http"] == rules[1]["http"]

    def test_without_a_host_it_is_for_any(self) -> None:
        options = ("--set", "ingress.enabled=true,trustedProxies={10.0.0.0/8}")
        [rule] = one(rendered("minimal", *options), "Ingress")["spec"]["rules"]
        assert rule.keys() == {"http"}

    def test_services_find_their_pods(self) -> None:
        objects = rendered("everything")
        labels = one(objects, "Deployment", "shop")["spec"]["template"]["metadata"]["labels"]
        other = one(objects, "Deployment", "-worker")["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(objects, "Service").values():
            assert each["spec"]["selector"].items() <= labels.items()
            assert not each["spec"]["selector"].items() <= other.items()

    def test_a_load_balancer_is_for_customers_alone(self) -> None:
        service = one(rendered("bare"), "Service")["spec"]
        assert (service["type"], [port["port"] for port in service["ports"]]) == ("LoadBalancer", [8080])


def test_what_is_not_the_internet_is_written_as_the_api_server_takes_it() -> None:
    """It refuses the whole policy for an exception that is no true part of the block, and takes an IPv4
    address that is written as IPv6 for one of IPv4, which is in no block of IPv6.
    """
    found = 0
    for objects in (rendered("minimal"), rendered("everything")):
        for policy in of_kind(objects, "NetworkPolicy").values():
            for rule in policy["spec"].get("egress", []):
                for block in (peer["ipBlock"] for peer in rule.get("to", []) if "ipBlock" in peer):
                    whole = ipaddress.ip_network(block["cidr"])
                    for each in map(ipaddress.ip_network, block.get("except", [])):
                        found += 1
                        assert each.version == whole.version
                        assert each != whole
                        assert whole.supernet_of(each)  # type: ignore[arg-type]
                        assert getattr(each.network_address, "ipv4_mapped", None) is None
    assert found > 20
