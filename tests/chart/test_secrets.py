"""Which pod is given which secret: those that it needs, and no other; and none stands where others read."""

import base64
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from service.errors import ConfigError
from service.platform.config import Settings, generate_key, load_settings, types
from tests.chart.chart import CASES, Json, mounted, of_kind, one, pods, refused, rendered
from tests.chart.test_pods import KEY, environment

#: What each container is given of a Secret that has everything. `smoke` is given it as variables.
GIVEN = {
    "api": {
        "SECRET_KEY", "SECRET_KEYS_ACCEPTED", "DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL",
        "WEATHER_URL", "WEATHER_GEOCODING_URL", "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    },
    "worker": {
        "SECRET_KEY", "SECRET_KEYS_ACCEPTED", "DATABASE_URL", "DATABASE_DIRECT_URL", "SMTP_URL",
        "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    },
    "migrate": {"DATABASE_URL", "DATABASE_DIRECT_URL", "ADMIN_EMAIL", "ADMIN_PASSWORD"},
    "smoke": {"ADMIN_EMAIL", "ADMIN_PASSWORD"},
    "verify": {"DATABASE_URL", "DATABASE_DIRECT_URL"},
    # The account from a Secret of its own.
    "create-admin": {"DATABASE_URL", "DATABASE_DIRECT_URL", "ADMIN_EMAIL", "ADMIN_PASSWORD"},
    "import": {"DATABASE_URL", "DATABASE_DIRECT_URL"},
}  # fmt: skip
GIVEN["check-config"] = GIVEN["api"] | GIVEN["worker"]
#: Without these a pod would not do its work: it waits until they are there.
NEEDED = {
    "api": {"SECRET_KEY", "DATABASE_URL"},
    "worker": {"SECRET_KEY", "DATABASE_URL"},
    "migrate": {"DATABASE_URL"},
    "verify": {"DATABASE_URL"},
    "create-admin": {"DATABASE_URL", "ADMIN_EMAIL", "ADMIN_PASSWORD"},
    "import": {"DATABASE_URL"},
    "check-config": {"SECRET_KEY", "DATABASE_URL"},
}
#: These sign or encrypt.
WITH_KEY = {"api", "worker", "check-config"}
#: Those that send traces.
WITH_HEADERS = {"api", "worker"}
#: What you make for `create-admin`.
ACCOUNT = {"ADMIN_EMAIL": "second@shop.example", "ADMIN_PASSWORD": "correct-horse-2"}
ACCOUNTS = re.compile("new-administrator|.+-create-admin")
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
#: In place of those in the values' files, which are published: production refuses them.
OWN = {
    "SECRET_KEY": generate_key().encode(),
    "SECRET_KEYS_ACCEPTED": generate_key().encode(),
    "ADMIN_PASSWORD": f"{generate_key()}-1".encode(),
}
SMALLEST = {"SECRET_KEY": KEY, "DATABASE_URL": "postgresql://u:p@h/d"}


def containers(objects: list[Json]) -> dict[str, tuple[Json, Json]]:
    """Each container and its pod, by name."""
    return {
        pod["spec"]["containers"][0]["name"]: (pod["spec"]["containers"][0], pod) for _, pod in pods(objects)
    }


def sources(pod: Json) -> list[Json]:
    """Of the pod's files."""
    return [
        source["secret"]
        for volume in pod["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]


def variables(container: Json) -> dict[str, Json]:
    """Those that come from a Secret."""
    return {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in container.get("env", [])
        if "secretKeyRef" in each.get("valueFrom", {})
    }


def secret(name: str, values: dict[str, str]) -> Json:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": data}


def with_its_secrets(objects: list[Json], pod: Json) -> list[Json]:
    """And those that the chart does not make, with as little as they may have."""
    lacking = {source["name"] for source in sources(pod)} - of_kind(objects, "Secret").keys()
    made = [secret(name, ACCOUNT if ACCOUNTS.fullmatch(name) else SMALLEST) for name in lacking]
    return [*objects, *made]


class TestLeastPrivilege:
    @pytest.mark.parametrize("name", ["minimal", "everything", "existing-secret", "external-secret"])
    def test_each_pod_is_given_what_it_needs_and_no_other(self, name: str) -> None:
        found = containers(rendered(name))
        # It has nothing of the release's own: only what was restored.
        rehearsal = found.pop("rehearsal", None)
        assert bool(rehearsal) == (name == "everything")
        if rehearsal:
            assert (sources(rehearsal[1]), variables(rehearsal[0])) == (
                [], {"DATABASE_URL": {"name": "restored", "key": "uri"}}
            )  # fmt: skip
        assert found.keys() == GIVEN.keys()
        for which, (container, pod) in found.items():
            as_files = {item["key"] for source in sources(pod) for item in source["items"]}
            as_variables = variables(container).keys()
            assert as_files == (set() if which == "smoke" else GIVEN[which]), which
            expected = {HEADERS} if which in WITH_HEADERS else set()
            assert as_variables == (GIVEN["smoke"] if which == "smoke" else expected), which

    def test_no_pod_has_a_secret_as_a_whole(self) -> None:
        for _, pod in pods(rendered("everything")):
            assert [volume for volume in pod["spec"]["volumes"] if "secret" in volume] == []
            [container] = pod["spec"]["containers"]
            assert [each for each in container.get("envFrom", []) if "secretRef" in each] == []
            assert all(source["items"] for source in sources(pod))

    def test_a_pod_waits_for_what_it_needs_and_does_without_the_rest(self) -> None:
        for which, (container, pod) in containers(rendered("external-secret")).items():
            waiting = {
                item["key"]
                for source in sources(pod)
                if not source.get("optional")
                for item in source["items"]
            }
            assert waiting == NEEDED.get(which, set())
            assert all(each["optional"] for each in variables(container).values())

    def test_the_hooks_own_secret_has_only_what_the_migration_needs(self) -> None:
        data = of_kind(rendered("everything"), "Secret")["shop-migrate"]["data"]
        assert data.keys() == GIVEN["migrate"]

    def test_every_setting_that_is_a_secret_or_an_address_is_some_pods(self) -> None:
        """An address may hold a key. PUBLIC_URL may not: the service refuses it."""

        address = getattr(types.HttpUrl, "__metadata__")  # noqa: B009 - mypy takes the alias for the type

        def secret_or_address(field: object) -> bool:
            metadata = [
                each for part in (field, *get_args(field)) for each in getattr(part, "__metadata__", ())
            ]
            return "SecretStr" in repr(field) or any(each in address for each in metadata)

        hints = {name: field.rebuild_annotation() for name, field in Settings.model_fields.items()}
        expected = {name.upper() for name, hint in hints.items() if secret_or_address(hint)}
        assert expected | {"ADMIN_EMAIL"} == set.union(*GIVEN.values())

    @pytest.mark.parametrize("name", CASES)
    def test_the_service_takes_what_its_pod_is_given(self, name: str, tmp_path: Path) -> None:
        """As a process in the pod finds it: the environment, and its part of the Secret as files."""
        objects = rendered(name)
        for which, (container, pod) in containers(objects).items():
            if which in {"smoke", "rehearsal"}:
                continue
            [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "secrets"]
            folder = tmp_path / which
            folder.mkdir()
            for key, value in mounted(volume, with_its_secrets(objects, pod)).items():
                (folder / key).write_bytes(OWN.get(key) or base64.b64decode(value))
            given = environment(objects, container)
            assert given["SECRETS_DIR"] == "/etc/tradepost/secrets"
            assert {each["mountPath"] for each in container["volumeMounts"]} >= {given["SECRETS_DIR"]}
            environ = {**given, "SECRETS_DIR": str(folder)}
            settings = load_settings(environ, env_file=None, signs=which in WITH_KEY)
            assert settings.environment == given["ENVIRONMENT"]
            assert settings.database_url is not None

    def test_only_what_signs_nothing_does_without_a_key(self) -> None:
        environ = {"ENVIRONMENT": "production", "DATABASE_URL": "postgresql://u:p@h/d"}
        first, second = (load_settings(environ, env_file=None, signs=False) for _ in range(2))
        assert isinstance(first.secret_key, SecretStr)
        assert first.secret_key != second.secret_key
        with pytest.raises(ConfigError, match="SECRET_KEY"):
            load_settings(environ, env_file=None)


class TestSecretOfYours:
    def test_it_is_read_by_the_names_of_the_settings(self) -> None:
        objects = rendered("existing-secret")
        assert of_kind(objects, "Secret") == {}
        for which, (container, pod) in containers(objects).items():
            account = {"tradepost-create-admin"} if which == "create-admin" else set()
            assert {source["name"] for source in sources(pod)} <= {"shop-settings"} | account
            assert {each["name"] for each in variables(container).values()} <= {"shop-settings"}
            assert all(item["key"] == item["path"] for source in sources(pod) for item in source["items"])

    def test_all_of_it_arrives_where_it_is_needed(self) -> None:
        everything = {key: f"value of {key}" for part in GIVEN.values() for key in part}
        for which, (_, pod) in containers(rendered("existing-secret")).items():
            if which == "smoke":
                continue
            [volume] = [each for each in pod["spec"]["volumes"] if each["name"] == "secrets"]
            names = ("shop-settings", "tradepost-create-admin")
            files = mounted(volume, [secret(name, everything) for name in names])
            decoded = {key: base64.b64decode(value).decode() for key, value in files.items()}
            assert decoded == {key: everything[key] for key in GIVEN[which]}


class TestPlainText:
    """ConfigMaps and pods are read by many who may not read Secrets."""

    def test_nothing_secret_stands_in_a_configmap_or_in_a_pod(self) -> None:
        objects = [each for each in rendered("everything") if each["kind"] != "Secret"]
        hidden = ("password@", "correct-horse-1", KEY, "authorization=token", "apikey=token")
        assert [secret for secret in hidden if secret in str(objects)] == []

    @pytest.mark.parametrize(
        ("name", "url", "value"),
        [
            ("WEATHER_URL", "https://weather.example/forecast?apikey=k", "weatherUrl"),
            ("WEATHER_URL", "https://user:password@weather.example/forecast", "weatherUrl"),
            ("WEATHER_URL", "https://token@weather.example/forecast", "weatherUrl"),
            ("WEATHER_URL", " HTTPS://weather.example/#k", "weatherUrl"),
            ("WEATHER_GEOCODING_URL", "https://weather.example/search?apikey=k", "weatherGeocodingUrl"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://u:p@collector.example", "otlpEndpoint"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector.example/?k=v", "otlpTracesEndpoint"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://collector.example/?k=v", "otlpLogsEndpoint"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://collector.example/?k=v", "otlpMetricsEndpoint"),
        ],
    )
    def test_a_url_that_holds_a_key_is_refused_in_config(self, name: str, url: str, value: str) -> None:
        message = refused("--set-string", f"config.{name}={url}")
        assert f"config.{name} is a URL with a user, a password or a query" in message
        assert f"set secrets.{value}, or {name} in your Secret" in message
        assert url.strip().rpartition("/")[2] not in message

    def test_so_is_one_that_no_secret_stands_for(self) -> None:
        message = refused("--set", "config.PUBLIC_URL=https://user:password@shop.example")
        assert "config.PUBLIC_URL is a URL with a user" in message
        assert "give it by extraEnv, with valueFrom.secretKeyRef" in message
        assert "password@" not in message

    def test_a_url_without_one_may_stand_there(self) -> None:
        url = "https://weather.example:8443/v1/forecast"
        settings = one(rendered("minimal", "--set", f"config.WEATHER_URL={url}"), "ConfigMap", "tradepost")
        assert settings["data"]["WEATHER_URL"] == url

    def test_as_a_secret_it_reaches_the_api(self) -> None:
        url = "https://weather.example/forecast?apikey=k"
        objects = rendered("minimal", "--set-string", f"secrets.weatherUrl={url}")
        assert (
            base64.b64decode(of_kind(objects, "Secret")["tradepost"]["data"]["WEATHER_URL"]).decode() == url
        )
        assert "apikey" not in str([each for each in objects if each["kind"] != "Secret"])

    def test_one_setting_cannot_be_in_both(self) -> None:
        """The ConfigMap's would win in silence."""
        both = "config.WEATHER_URL=https://a.example,secrets.weatherUrl=https://b.example"
        assert "Set config.WEATHER_URL or secrets.weatherUrl, not both" in refused("--set", both)

    @pytest.mark.parametrize("component", ["api", "worker", "migrations", "tasks"])
    @pytest.mark.parametrize(
        ("name", "value"),
        [("HTTPS_PROXY", "http://user:password@proxy.example:3128"), ("ADMIN_PASSWORD", "correct-horse-1")],
    )
    def test_extra_variables_take_no_secret_as_text(self, component: str, name: str, value: str) -> None:
        extra = f"{component}.extraEnv[0].name={name},{component}.extraEnv[0]"
        message = refused("--set", f"{extra}.value={value}")
        assert f"{component}: extraEnv has {name} as plain text" in message
        assert value not in message
        reference = f"{extra}.valueFrom.secretKeyRef"
        options = ("--set", f"{reference}.name=mine,{reference}.key=k")
        if name == "ADMIN_PASSWORD" and component != "migrations":
            assert f"{component}: extraEnv has {name}, which these pods do not need" in refused(*options)
        else:
            assert rendered("minimal", *options)

    @pytest.mark.parametrize(
        ("component", "name"),
        [
            ("api", "SMTP_URL"),
            ("worker", "REDIS_URL"),
            ("migrations", "SECRET_KEY"),
            ("smokeTest", "DATABASE_URL"),
        ],
    )
    @pytest.mark.parametrize("values", ["minimal", "existing-secret"])
    def test_extra_variables_take_no_secret_that_the_pod_does_not_need(
        self, component: str, name: str, values: str
    ) -> None:
        """An intruder in it should not find it."""
        reference = f"{component}.extraEnv[0].name={name},{component}.extraEnv[0].valueFrom.secretKeyRef"
        message = refused("--set", f"{reference}.name=mine,{reference.partition(',')[2]}.key=k", name=values)
        assert f"{component}: extraEnv has {name}, which these pods do not need: it is for" in message

    @pytest.mark.parametrize(
        ("values", "secret"), [("minimal", "tradepost"), ("existing-secret", "shop-settings")]
    )
    def test_nor_under_another_name_from_the_releases_own_secret(self, values: str, secret: str) -> None:
        def extra(key: str) -> tuple[str, str]:
            reference = "api.extraEnv[0].valueFrom.secretKeyRef"
            return "--set", f"api.extraEnv[0].name=MINE,{reference}.name={secret},{reference}.key={key}"

        assert "api: extraEnv has MINE, which these pods do not need" in refused(
            *extra("SMTP_URL"), name=values
        )
        for key in ("REDIS_URL", "OF_YOURS"):
            [container] = one(rendered(values, *extra(key)), "Deployment", "tradepost")["spec"]["template"][
                "spec"
            ]["containers"]
            assert variables(container)["MINE"] == {"name": secret, "key": key}

    def test_the_collector_is_let_through_where_its_address_is_a_secret(self) -> None:
        objects = rendered("minimal", "--set", "secrets.otlpEndpoint=https://u:p@collector.example:4318")
        rules = of_kind(objects, "NetworkPolicy")["tradepost-api"]["spec"]["egress"]
        assert [port["port"] for rule in rules for port in rule["ports"]].count(4318) == 1
