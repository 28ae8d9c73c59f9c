"""Settings: names and defaults in settings.py, types in types.py, sources in sources.py."""

from service.platform.config.settings import EXIT_CONFIG, Settings, describe, generate_key, load_settings

__all__ = ["EXIT_CONFIG", "Settings", "describe", "generate_key", "load_settings"]
