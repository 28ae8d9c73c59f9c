"""What this process has counted so far, and how to be the only one who counts."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

from prometheus_client import REGISTRY

Given = ParamSpec("Given")


def counted(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0.0


def alone(test: Callable[Given, Coroutine[Any, Any, None]]) -> Callable[Given, None]:
    """Run this test in an event loop of its own: nothing else of the process runs until it ends.

    Its fixtures may not be asynchronous, for they would be of the other loop.
    """

    @functools.wraps(test)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    # pytest-asyncio would find the coroutine function behind it.
    vars(run).pop("__wrapped__")
    vars(run)["__signature__"] = inspect.signature(test)
    return run
