"""Make a SECRET_KEY."""

from service.platform.config import generate_key


def run() -> int:
    """Print nothing but the key, so that it can go straight into a file or a secret store."""
    print(generate_key())
    return 0
