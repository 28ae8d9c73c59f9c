"""What this process has counted so far."""

from prometheus_client import REGISTRY


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0.0
