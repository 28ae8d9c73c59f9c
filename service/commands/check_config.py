"""Say whether the service would start with this configuration, before it is rolled out."""

import sys

from service.config import EXIT_CONFIG, describe, load_settings
from service.errors import ConfigError


def run() -> int:
    """Print the effective settings, secrets masked, or every fault; 78 as `serve` would exit."""
    try:
        settings = load_settings()
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        count = len(error.faults)
        print(f"Configuration is not valid: {count} fault{'s' * (count != 1)}", file=sys.stderr)
        return EXIT_CONFIG
    rows = describe(settings)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}".replace("\n", "\n" + " " * (width + 2)))
    print("Configuration is valid")
    return 0
