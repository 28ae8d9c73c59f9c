"""Every setting of the service: names and defaults. The rules between them are in conflicts.py.

Values come from the environment, from mounted files (`NAME_FILE`, `SECRETS_DIR`) and, in
development, from `.env`; `.env.example` gives their meaning. A fault names its setting and never
shows a value, not even of a setting that holds no secret: it may be a secret in the wrong place.
"""

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ModelWrapValidatorHandler, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.errors import ConfigError
from service.platform.config import types
from service.platform.config.cgroup import default_workers
from service.platform.config.conflicts import conflicts
from service.platform.config.sources import collect, kept_key, reason

#: EX_CONFIG of sysexits.h: restarting does not help, an operator must change a setting.
EXIT_CONFIG = 78

_DATA_DIR = Path(".data")
_PLAINLY = {
    "int_parsing": "is not a whole number",
    "float_parsing": "is not a number",
    "bool_parsing": "is neither true nor false",
}


def generate_key() -> str:
    """A new SECRET_KEY: 48 random bytes, as many as the signing key is derived from."""
    return secrets.token_urlsafe(48)


class Settings(BaseSettings):
    """The checked configuration of one process.

    Constructing it directly reads nothing but the arguments, for tests; `load_settings` reads the
    process's surroundings. Either raises ConfigError with every fault. Times in seconds are
    numbers, longer spans are timedeltas.
    """

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    environment: Literal["development", "test", "production"] = "development"
    host: types.Host = Field(
        # On a developer's machine the sample business must not be open to the whole network.
        default_factory=lambda data: "127.0.0.1" if data["environment"] == "development" else "0.0.0.0"  # noqa: S104
    )
    port: types.Port = 8000
    metrics_port: types.Port = 9090
    data_dir: Path = _DATA_DIR
    sample: bool = False
    secrets_dir: Path | None = None
    web_concurrency: types.AtLeastOne = Field(default_factory=default_workers)
    graceful_timeout: types.Patience = 25
    drain_file: Path | None = None
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024, le=1024**3)
    response_cache_bytes: int = Field(default=16 * 1024 * 1024, ge=0, le=1024**3)
    docs_enabled: bool = Field(default_factory=lambda data: data["environment"] != "production")
    log_level: types.LogLevel = "INFO"
    log_format: Literal["json", "console"] = "json"

    database_url: types.DatabaseUrl | None = None
    database_direct_url: types.DatabaseUrl | None = Field(default_factory=lambda data: data["database_url"])
    database_pooler: types.HostPort | None = None
    database_pooler_prepares: bool = False
    database_pool_size: types.AtLeastOne = 5
    database_max_overflow: types.Count = 5
    database_pool_timeout: types.Seconds = 5
    database_statement_timeout: types.Seconds = 5
    readiness_database: Literal["soft", "hard"] = "soft"

    #: Random where it is not given, so that no attacker knows it; production must give one.
    secret_key: types.StrongKey = Field(default_factory=lambda: SecretStr(generate_key()))
    secret_keys_accepted: types.StrongKeys = ()
    public_url: types.PublicUrl | None = None
    token_issuer: str = Field(default_factory=lambda data: data["public_url"] or "tradepost", min_length=1)
    token_audience: str = Field(default="tradepost", min_length=1)
    admin_email: types.Address | None = None
    admin_password: types.Password | None = None
    cors_origins: types.Origins = ()
    cors_credentials: bool = False
    trusted_proxies: types.ProxyNetworks = ()
    trusted_proxy_hops: types.Hops | None = None
    allowed_hosts: types.HostNames = ()
    hsts_max_age: types.Duration | None = None

    redis_url: types.RedisUrl | None = None
    rate_limit_default: types.RateLimit = "300/minute"
    rate_limit_sign_in: types.RateLimit = "10/minute;100/hour"
    rate_limit_refresh: types.RateLimit = "60/minute"
    rate_limit_register: types.RateLimit = "5/minute;20/hour"
    rate_limit_reset: types.RateLimit = "5/minute;20/hour"

    currency: types.Currency = "USD"
    seller: str = "Tradepost"
    shipping_rates: types.ShippingRates = Field(default_factory=dict)
    payment_window: types.Duration = timedelta(hours=24)
    reserved_units_limit: types.Units = 2_000
    reserved_units_limit_unverified: types.Units = 200
    cancelled_orders_limit: types.Units = 10
    smtp_url: types.SmtpUrl | None = None
    mail_from: types.Mailbox | None = None
    weather_url: types.HttpUrl = "https://api.open-meteo.com/v1/forecast"
    weather_geocoding_url: types.HttpUrl = "https://geocoding-api.open-meteo.com/v1/search"
    webhook_allow_private: bool = False
    retention_keys: types.Duration = timedelta(hours=24)
    retention_events: types.Duration = timedelta(days=30)
    retention_deliveries: types.Duration = timedelta(days=30)
    retention_audit: types.Duration = timedelta(days=90)

    otel_service_name: str = Field(default="tradepost", min_length=1)
    otel_exporter_otlp_endpoint: types.HttpUrl | None = None
    otel_exporter_otlp_traces_endpoint: types.HttpUrl | None = None
    otel_exporter_otlp_logs_endpoint: types.HttpUrl | None = None
    otel_exporter_otlp_metrics_endpoint: types.HttpUrl | None = None
    otel_traces_exporter: str = "otlp"
    otel_logs_exporter: Literal["none", "otlp"] = "none"
    otel_metrics_exporter: Literal["none", "otlp"] = "none"
    otel_sdk_disabled: bool = False

    @property
    def traces_endpoint(self) -> str | None:
        """The URL that spans are sent to; None where tracing is off.

        Without an endpoint it is off, though the SDK would try localhost: nothing may listen there.
        """
        return self._otlp(self.otel_traces_exporter, self.otel_exporter_otlp_traces_endpoint, "/v1/traces")

    @property
    def logs_endpoint(self) -> str | None:
        """The URL that log lines are sent to, beside stdout; None where they are not."""
        return self._otlp(self.otel_logs_exporter, self.otel_exporter_otlp_logs_endpoint, "/v1/logs")

    @property
    def metrics_endpoint(self) -> str | None:
        """The URL that metrics are sent to, beside METRICS_PORT; None where they are not."""
        return self._otlp(self.otel_metrics_exporter, self.otel_exporter_otlp_metrics_endpoint, "/v1/metrics")

    def _otlp(self, exporter: str, own: str | None, path: str) -> str | None:
        if self.otel_sdk_disabled or "otlp" not in exporter:
            return None
        if own or not self.otel_exporter_otlp_endpoint:
            return own
        base = urlsplit(self.otel_exporter_otlp_endpoint)  # a query is the collector's key, and stays behind
        return base._replace(path=base.path.rstrip("/") + path).geturl()

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments count: the same call gives the same settings on every machine."""
        return (sources["init_settings"],)

    @model_validator(mode="wrap")
    @classmethod
    def _every_fault(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Check the rules between settings even where single settings are bad, with the rest.

        Raises:
            ConfigError: with all faults, not a ValidationError, which would stop at the first kind.
        """
        faults: dict[str, str] = {}
        try:
            settings = handler(data)
        except ValidationError as error:
            faults = _own_faults(error)
            settings = handler({name: value for name, value in data.items() if name not in faults})
        for names, message in conflicts(settings):
            if faults.keys().isdisjoint(names):
                faults[names[0]] = message
        if faults:
            raise ConfigError(_lines(faults))
        return settings

    def __repr_args__(self) -> Iterable[tuple[str, str]]:
        return describe(self)


def _own_faults(error: ValidationError) -> dict[str, str]:
    """The first fault of each setting; the position where it is one entry of several."""
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        if fault["type"] == "default_factory_not_called":
            continue  # a default derived from another setting, only because some setting is bad
        name, *inner = fault["loc"]
        entry = f"entry {inner[0] + 1} " if inner and isinstance(inner[0], int) else ""
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] != "value_error":
            message = _PLAINLY.get(fault["type"], message.replace("Input should", "must"))
            message += "; correct it or leave it out for the default"
        faults.setdefault(str(name), entry + message)
    return faults


def _lines(faults: Mapping[str, str]) -> tuple[str, ...]:
    """One line a fault, in the order of the settings; what is no setting comes first."""
    rank = {name: position for position, name in enumerate(Settings.model_fields)}
    ordered = sorted(faults, key=lambda name: rank.get(name, -1))
    return tuple(f"{name.upper() if name in rank else name}: {faults[name]}" for name in ordered)


def load_settings(
    environ: Mapping[str, str] | None = None, *, env_file: Path | None = Path(".env"), signs: bool = True
) -> Settings:
    """The settings of this process: the environment over mounted files over, in development, `.env`.

    Outside production a missing SECRET_KEY is made once and kept in DATA_DIR, so that tokens
    survive a restart and all processes agree. A process that neither `signs` nor encrypts needs none, and
    should not be trusted with one: where it is missing, a random key that is not stored stands in its place.

    Raises:
        ConfigError: with every fault of every source at once.
    """
    faults: dict[str, str] = {}
    values = collect(Settings, os.environ if environ is None else environ, env_file, faults)
    if not signs and "secret_key" not in faults:
        values.setdefault("secret_key", generate_key())
    if _wants_key(values, faults):
        try:
            values["secret_key"] = kept_key(Path(values.get("data_dir", _DATA_DIR)), generate_key())
        except (OSError, ValueError) as error:
            faults["data_dir"] = f"cannot keep a key ({reason(error)}); make it writable or set SECRET_KEY"
    try:
        settings = Settings(**values)  # type: ignore[arg-type]
    except ConfigError as error:
        named = (line.split(": ", 1) for line in error.faults)
        faults = {name.lower(): message for name, message in named} | faults
    if faults:
        raise ConfigError(_lines(faults))
    return settings


def _wants_key(values: Mapping[str, str], faults: Mapping[str, str]) -> bool:
    keeps = values.get("environment", "development") in {"development", "test"}
    return keeps and "secret_key" not in values and faults.keys().isdisjoint({"secret_key", "data_dir"})


def describe(settings: Settings) -> list[tuple[str, str]]:
    """Each setting's NAME and effective value in the form it is written in; secrets only as `set`."""
    return [(name.upper(), _shown(getattr(settings, name))) for name in Settings.model_fields]


def _shown(value: object) -> str:
    match value:
        case None | "" | ():
            shown = "not set"
        case SecretStr() | (SecretStr(), *_):
            shown = "set"
        case bool():
            shown = str(value).lower()
        case timedelta():
            shown = f"{value.total_seconds():.0f}"
        case float():
            shown = f"{value:g}"
        case tuple():
            shown = ",".join(map(str, value))
        case dict():
            shown = ",".join(f"{name}={price}" for name, price in value.items())
        case _:
            shown = str(value)
    # The address of a service may carry a password or an API key.
    return "set" if re.search("://.*[@?#]", shown) else shown
