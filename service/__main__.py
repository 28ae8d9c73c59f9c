"""The command line: `tradepost COMMAND`, or `python -m service COMMAND`."""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from service import __version__
from service.errors import CommandError, ConfigError, ServiceError, Unavailable
from service.platform.config import EXIT_CONFIG, Settings, load_settings
from service.platform.process import COMPANION_OF
from service.platform.telemetry import logging

#: prometheus_client reads it when it is imported, so it has to be set before any command is.
MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True)
class Command:
    """A module of the package. `run` takes the settings, then arguments, flags and options, if any."""

    module: str
    help: str
    configured: bool = True
    #: Whether it signs or encrypts, and so needs SECRET_KEY.
    signs: bool = True
    arguments: tuple[tuple[str, str], ...] = ()
    #: Arguments that may be left out; empty text then.
    optional: tuple[tuple[str, str], ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()


COMMANDS = {
    "serve": Command("cli.serve", "run the service under Gunicorn"),
    "dev": Command("cli.dev", "run it in one process that restarts when the code changes"),
    "worker": Command("cli.worker", "run a worker: emails, webhooks and scheduled jobs"),
    "migrate": Command("cli.migrate", "bring the database's schema to this build's revision", signs=False),
    "check-config": Command(
        "cli.check_config",
        "list every setting and every fault in them",
        configured=False,
        flags=(("connect", "try the database's addresses too; exit status 69 where one does not work"),),
    ),
    "generate-key": Command("cli.generate_key", "print a new SECRET_KEY", configured=False),
    "create-admin": Command(
        "cli.create_admin",
        "create an administrator",
        signs=False,
        optional=(("email", "the e-mail address; with none, ADMIN_EMAIL and ADMIN_PASSWORD are used"),),
    ),
    "import": Command(
        "cli.import_csv",
        "load products, customers and past orders from CSV files",
        signs=False,
        arguments=(("folder", "the folder with the files"),),
    ),
    "sample": Command("cli.sample", "load the sample business"),
    "verify": Command(
        "cli.verify",
        "check the whole database: totals, stock, timelines, orphans; exit status 1 on a fault",
        signs=False,
        flags=(("json", "print one JSON document"),),
        options=(("max-age", "hours; a database in which no worker has run since then is a fault too"),),
    ),
    "smoke": Command(
        "cli.smoke",
        "test a running service as its customers use it; exit status 1 on a fault",
        configured=False,
        options=(("url", "its address; http://127.0.0.1:PORT if not given"),),
    ),
    "profile": Command(
        "cli.profile",
        "print a flame graph of what the running processes of this pod spend CPU time on",
        configured=False,
        options=(
            ("seconds", "how long, 1 to 300; 30 if not given"),
            ("format", "svg, folded or speedscope; svg if not given"),
            ("worker", "the id of one process; all of them if not given"),
        ),
    ),
    "export-openapi": Command("cli.export_openapi", "print the OpenAPI document", configured=False),
}
#: Whose output machines read.
SERVICES = frozenset({"serve", "worker", "migrate"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tradepost", description="The backend of a shop.")
    parser.add_argument("--version", action="version", version=f"tradepost {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.help, description=command.help)
        for argument, explanation in command.arguments:
            subparser.add_argument(argument, help=explanation)
        for argument, explanation in command.optional:
            subparser.add_argument(argument, help=explanation, nargs="?", default="")
        for flag, explanation in command.flags:
            subparser.add_argument(f"--{flag}", help=explanation, action="store_true")
        for option, explanation in command.options:
            subparser.add_argument(f"--{option}", help=explanation, default="")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, 1, or 78 (EX_CONFIG) for settings that have to be changed."""
    arguments = _parser().parse_args(argv)
    command = COMMANDS[arguments.command]
    try:
        named = (*command.arguments, *command.optional, *command.flags, *command.options)
        given = [getattr(arguments, name.replace("-", "_")) for name, _ in named]
        return _run(command, given)
    except ConfigError as error:
        if arguments.command in SERVICES:
            logging.log_refusal(error.faults)
        print("The configuration is not usable:", *error.faults, sep="\n  ", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIG
    except (CommandError, ServiceError) as error:
        print(f"tradepost {arguments.command}: {error}{_cause(error)}", file=sys.stderr)  # noqa: T201
        return 1


def _cause(error: Exception) -> str:
    return f" The cause: {error.cause}." if isinstance(error, Unavailable) and error.cause else ""


def _run(command: Command, arguments: list[str | bool]) -> int:
    given: list[object] = []
    if command.configured:
        settings = load_settings(signs=command.signs)
        given.append(settings)
        logging.configure(settings.log_level, settings.log_format)
        logging.log_crashes()
        _set_metrics_folder(command, settings)
    # Modules stay. To look for garbage among them while they are imported takes a fifth of that time.
    gc.disable()
    module = importlib.import_module(f"service.{command.module}")
    gc.enable()
    status: int = module.run(*given, *arguments)
    return status


def _set_metrics_folder(command: Command, settings: Settings) -> None:
    """The service adds up the metrics of its processes in files. Other commands must not write there."""
    if command.module == "cli.serve":
        # A folder for each port: a second service beside this one must not wipe its counts.
        folder = settings.data_dir / "metrics" / str(settings.metrics_port)
        os.environ.setdefault(MULTIPROC_DIR, str(folder))
    elif COMPANION_OF not in os.environ:
        # A pod may set it for all that runs in it, commands run by hand included.
        os.environ.pop(MULTIPROC_DIR, None)


if __name__ == "__main__":
    sys.exit(main())
