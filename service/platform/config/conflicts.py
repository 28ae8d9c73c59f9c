"""The rules between settings, and what production refuses."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from service.platform.config import password_policy, secret_key_policy

if TYPE_CHECKING:
    from service.platform.config.settings import Settings

#: What needs another setting, and what to do about it.
_PARTNERS: Final = (
    ("database_direct_url", "database_url", "set both"),
    ("database_pooler", "database_url", "set both"),
    ("admin_email", "admin_password", "set both or neither"),
    ("admin_password", "admin_email", "set both or neither"),
    ("smtp_url", "mail_from", "write the sender's address"),
)


def conflicts(settings: "Settings") -> Iterator[tuple[tuple[str, ...], str]]:
    """The rules between settings: who is at fault first, then who else takes part."""
    if settings.environment == "production":
        yield from _refused_in_production(settings)
    for name, partner, advice in _PARTNERS:
        if getattr(settings, name) and not getattr(settings, partner):
            yield (partner, name), f"is missing while {name.upper()} is set; {advice}"
    if settings.port == settings.metrics_port:
        yield ("metrics_port", "port"), "is the same as PORT; choose another"
    if "*" in settings.cors_origins and settings.cors_credentials:
        yield ("cors_origins", "cors_credentials"), "is * while CORS_CREDENTIALS is on; list the origins"
    yield from _nowhere_to_send(settings)


def _nowhere_to_send(settings: "Settings") -> Iterator[tuple[tuple[str, ...], str]]:
    """Traces are off without an endpoint; who chooses to send logs or metrics has forgotten it."""
    for signal in ("logs", "metrics"):
        own, chosen = f"otel_exporter_otlp_{signal}_endpoint", f"otel_{signal}_exporter"
        endpoint = getattr(settings, own) or settings.otel_exporter_otlp_endpoint
        if getattr(settings, chosen) == "otlp" and not endpoint and not settings.otel_sdk_disabled:
            advice = "set it, or OTEL_EXPORTER_OTLP_ENDPOINT for all"
            yield (own, chosen), f"is missing while {chosen.upper()} is otlp; {advice}"


def _refused_in_production(settings: "Settings") -> Iterator[tuple[tuple[str, ...], str]]:
    if "secret_key" not in settings.model_fields_set:
        yield ("secret_key",), "is missing; make one with `tradepost generate-key`"
    yield from _published(settings)
    if not settings.database_url:
        yield ("database_url",), "is missing; write postgresql://user:password@host:5432/name"
    if settings.sample:
        yield ("sample",), "is refused in production; remove it"
    if settings.webhook_allow_private:
        yield (
            ("webhook_allow_private",),
            "is refused in production, for it opens the inner network; remove it",
        )


def _published(settings: "Settings") -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys and passwords that are in the repository are public."""
    if secret_key_policy.is_published(settings.secret_key):
        yield ("secret_key",), f"is published with the source code; {secret_key_policy.ADVICE}"
    for position, key in enumerate(settings.secret_keys_accepted, start=1):
        if secret_key_policy.is_published(key):
            yield (
                ("secret_keys_accepted",),
                f"entry {position} is published with the source code; remove it",
            )
    if settings.admin_password and password_policy.is_published(settings.admin_password.get_secret_value()):
        yield ("admin_password",), "is published with the source code; choose another"
