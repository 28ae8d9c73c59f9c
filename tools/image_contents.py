"""Run while the image is built (see Dockerfile), by the Python of the image.

    python image_contents.py libraries FOLDER   every shared library under FOLDER can be loaded
    python image_contents.py bytecode           compile each module that the service imports

Of 1,900 modules about 1,100 are ever imported: bytecode of all would weigh as much as the sources.
It is not checked against its source at run time, since neither changes in an image.
"""

import ctypes
import importlib
import os
import pkgutil
import py_compile
import sys
from pathlib import Path

#: By name, late, or in a process of its own: what is not imported with the modules of the service.
LATE = (
    "asyncpg.protocol.protocol",
    "encodings.idna",
    "gunicorn.glogging",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._logs.export",
    "opentelemetry.sdk.metrics.export",
    "opentelemetry.sdk.trace.export",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)
#: Alembic loads them by path.
LEFT_OUT = ("service.migrations",)


def libraries(folder: str) -> None:
    for path in sorted(Path(folder).rglob("*.so*")):
        ctypes.CDLL(str(path), mode=os.RTLD_NOW)


def import_all() -> None:
    service = importlib.import_module("service")
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if not module.name.startswith(LEFT_OUT):
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)


def bytecode() -> None:
    import_all()
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    folder = Path(importlib.import_module("service").__path__[0])
    sources = {str(path) for path in folder.rglob("*.py")}  # the migrations too
    for module in list(sys.modules.values()):
        source = getattr(module, "__file__", None)
        if source and source.endswith(".py") and source != __file__:
            sources.add(source)
    for source in sorted(sources):
        py_compile.compile(source, doraise=True, invalidation_mode=mode)
    print(f"{len(sources)} modules compiled")


if __name__ == "__main__":
    {"libraries": libraries, "bytecode": bytecode}[sys.argv[1]](*sys.argv[2:])
