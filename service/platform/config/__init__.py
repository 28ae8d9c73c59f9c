"""Settings: names and defaults in settings.py, types in types.py, sources in sources.py."""

from service.platform.config.settings import EXIT_CONFIG, Settings, describe, generate_key, load_settings

__all__ = ["EXIT_CONFIG", "Settings", "describe", "direct_setting", "generate_key", "load_settings"]


def direct_setting(settings: Settings) -> str:
    """Which setting has the address that bypasses a pooler."""
    same = settings.database_direct_url in (None, settings.database_url)
    return "DATABASE_URL" if same else "DATABASE_DIRECT_URL"
