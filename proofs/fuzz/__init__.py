"""Requests made up from the OpenAPI document, as each kind of caller; then parsers, and a model of the shop.

Each caller gets a shop of its own and the same share of the time. A finding of schemathesis, an answer of
5xx, an error in the log and what `tradepost verify` finds are faults.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from functools import partial
from typing import Final

from proofs.cases import Case, Context, Proof, Result
from proofs.fuzz.callers import CALLERS, prepare
from proofs.fuzz.requests import ROOT, fuzz, logged_faults
from proofs.shop import shop
from tests.contract.upstream import weather_upstream

#: What a shop takes to start and to be verified, beside the time of its requests.
AROUND_A_RUN: Final = 30
#: Seconds of requests in the short form, and at least.
SHORT: Final = 8
#: Of all the time: for the parsers, for the model, and to spare.
PARSERS, MODEL, SPARE = 0.1, 0.1, 0.05
#: What fits into these shares: examples of each property of parsers, and steps of the model, a minute of all.
EXAMPLES_A_MINUTE, STEPS_A_MINUTE = 8, 40


async def as_caller(caller: str, context: Context) -> Result:
    share = context.minutes * 60 * (1 - PARSERS - MODEL - SPARE) / len(CALLERS)
    seconds = SHORT if context.short else max(round(share - AROUND_A_RUN), SHORT)
    with weather_upstream() as upstream:
        async with shop(
            context.folder,
            items=1,
            LOG_LEVEL="error",
            WEATHER_URL=f"{upstream}/forecast",
            WEATHER_GEOCODING_URL=f"{upstream}/search",
        ) as it:
            credentials = context.folder / "callers.json"
            await asyncio.to_thread(prepare, it.api, it.postgresql.url, credentials)
            options = ("--max-time", str(seconds), "--seed", str(context.seed))
            fuzzed = await asyncio.to_thread(fuzz, it.url, caller, credentials, context.folder, *options)
            if fuzzed.findings:
                context.say(fuzzed.output)
            faults = fuzzed.findings + logged_faults(it.api) + await it.verify()
    figures = {"requests": fuzzed.requests, "operations": fuzzed.operations}
    return Result(figures | {"accepted": len(fuzzed.accepted), "findings": len(faults)}, faults)


async def parsers(context: Context) -> Result:
    """The properties of tests/fuzz, with more examples than every day, and others each time."""
    examples = round(context.minutes * EXAMPLES_A_MINUTE)
    seed = f"--hypothesis-seed={context.seed}"
    passed, faults = await _tests(context, "tests/fuzz", seed, FUZZ_EXAMPLES=str(examples))
    return Result({"requests": passed * examples, "findings": len(faults)}, faults)


async def model(context: Context) -> Result:
    """Shopping, with connections killed, held against a model that is written without the service's code."""
    steps = round(context.minutes * STEPS_A_MINUTE)
    chosen = {"FUZZ_STEPS": str(steps), "FUZZ_SEED": str(context.seed)}
    _, faults = await _tests(context, "tests/invariants", **chosen)
    return Result({"requests": steps, "findings": len(faults)}, faults)


async def _tests(context: Context, folder: str, *options: str, **environment: str) -> tuple[int, list[str]]:
    """How many tests of a folder passed, and a sentence for each that did not."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--show-capture=no", folder, *options]
    ran = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        output = (await ran.communicate())[0].decode()
    finally:
        # The proof's time is over: it stops as by Ctrl-C, with what it started.
        if ran.returncode is None:
            ran.send_signal(signal.SIGINT)
            await ran.wait()
    faults = [f"{folder}: {line}" for line in output.splitlines() if line.startswith("FAILED")]
    if ran.returncode and not faults:
        faults = [f"{folder} ended with {ran.returncode}"]
    if faults:
        context.say(output)
    passed = re.search(r"(\d+) passed", output)
    return int(passed[1]) if passed else 0, faults


PROOF = Proof(
    name="fuzz",
    title="Requests made up from the OpenAPI document",
    columns={
        "requests": "requests, examples or steps",
        "operations": "operations",
        "accepted": "of these answered 2xx",
        "findings": "findings",
    },
    cases=[
        *(
            Case(caller, title, partial(as_caller, caller), short=caller == "customer")
            for caller, title in CALLERS.items()
        ),
        Case("parsers", "text of every kind for what parses headers, tokens, files and settings", parsers),
        Case("model", "shopping held against a model, with connections killed", model),
    ],
)
