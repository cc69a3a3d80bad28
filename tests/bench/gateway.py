"""What it costs to wait for a prediction: writes ``gateway.json``.

At each rate events are sent three ways, one after the other: by a plain producer, by :class:`penstock.client.Client`,
and by HTTP through a gateway. A plain reader of the predictions times the same events, so that what a client adds is
the difference of two figures of one run. With the plain producer, a second reader does not wait for the commits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.client import Client
from penstock.errors import PenstockError
from penstock.paths import BUILD, ROOT
from tests.bench import command
from tests.bench.pipeline import latency
from tests.bench.pipeline.parts import Pipeline
from tests.bench.pipeline.raw_events import DISTINCT, payment

_WARM_S = 12.0
_DEADLINE_MS = 5_000
_RESULT_S = 60.0
_GOALS_MS = (50, 100, 200)

Ask = Callable[[dict[str, Any]], Awaitable[str]]
"""Asks for an event; returns who decided."""


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark, and write what it found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one rate, within about three minutes")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench", help="where results and logs go")
    parser.add_argument("--page", action="store_true", help="write docs/reference/gateway-benchmark.md, too")
    options = parser.parse_args(arguments)
    rates, seconds = ((50,), 20.0) if options.quick else ((50, 200, 500), 40.0)
    folder = options.folder / "gateway"
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder / "stack", Ports.free())
    load = [round(os.getloadavg()[0], 1)]
    try:
        stack.up(["kafka", "flink", "triton"])
        os.environ.update(stack.environment())
        pipeline = Pipeline(ROOT, stack, folder, "bench_gateway")
        with pipeline.job(), pipeline.part("scorer"):
            measured = {str(rate): at_rate(pipeline, rate, seconds) for rate in rates}
    finally:
        stack.down(wipe=True)
    load.append(round(os.getloadavg()[0], 1))
    found = {
        "rates": measured,
        "quick": options.quick,
        "seconds": seconds,
        "date": datetime.now(UTC).date().isoformat(),
        "load": load,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("confluent-kafka", "aiohttp", "fastavro")},
    }
    (options.folder / "gateway.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.page:
        (ROOT / "docs" / "reference" / "gateway-benchmark.md").write_text(page(found), encoding="utf-8")
    return 0


def at_rate(pipeline: Pipeline, rate: int, seconds: float) -> dict[str, dict[str, Any]]:
    """The quantiles in milliseconds of the three ways at one rate."""
    kafka, definition = pipeline.settings.kafka.access, pipeline.definition
    length = str(_WARM_S + seconds + 5)
    found: dict[str, dict[str, Any]] = {}
    with (
        readers(pipeline, seconds, "read_committed", "read_uncommitted") as read,
        latency.child("send", kafka, definition.source.topic, str(rate), length),
    ):
        found["plain"] = dict(zip(("prediction", "uncommitted"), read(), strict=True))
    with ExitStack() as running:
        address = running.enter_context(gateway(pipeline))
        for way, target in (("client", str(pipeline.file)), ("gateway", f"{address}/v1/{pipeline.name}/events")):
            asking = [sys.executable, "-m", "tests.bench.gateway", "ask", way, target, str(rate), str(seconds)]
            with (
                readers(pipeline, seconds, "read_committed") as read,
                subprocess.Popen(asking, cwd=ROOT, stdout=subprocess.PIPE, text=True) as asker,
            ):
                found[way] = {"prediction": read()[0]}
                found[way] |= result(asker, seconds)
    print(rate, json.dumps(found), flush=True)
    return found


@contextmanager
def readers(pipeline: Pipeline, seconds: float, *isolations: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Plain readers of the predictions; yields what returns their quantiles."""
    kafka, topic = pipeline.settings.kafka.access, pipeline.definition.predictions_topic
    with ExitStack() as running:
        children = [
            running.enter_context(latency.child("read", kafka, topic, str(_WARM_S), str(seconds), isolation))
            for isolation in isolations
        ]
        yield lambda: [result(each, seconds) for each in children]


def result(process: subprocess.Popen[str], seconds: float) -> dict[str, Any]:
    """What a process of the benchmark prints at its end."""
    printed, _ = process.communicate(timeout=_WARM_S + seconds + _RESULT_S)
    if process.returncode:
        raise PenstockError(
            "nothing was measured: the machine is too busy, or a part has ended", where=str(process.args)
        )
    found: dict[str, Any] = json.loads(printed)
    return found


@contextmanager
def gateway(pipeline: Pipeline) -> Iterator[str]:
    """A gateway as users run it; yields its address."""
    arguments = ["--fallback", "late", "--port", "0", "--most-deadline-ms", str(_DEADLINE_MS)]
    run = [sys.executable, "-m", "penstock", "gateway", "run", str(pipeline.file), *arguments]
    with subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = re.search(r"http://\S+", process.stdout.readline())
            if said is None:
                raise PenstockError("the gateway did not start", where=str(pipeline.file))
            yield said[0]
        finally:
            process.terminate()


async def ask(way: str, target: str, rate: int, seconds: float) -> None:
    """Ask at an even rate, whether or not answers come; print the quantiles of the waits after the warm-up."""
    waits: list[float] = []
    sources: dict[str, int] = {}

    async def one(asks: Ask, event: dict[str, Any], counts: bool) -> None:
        begin = time.perf_counter()
        source = await asks(event)
        if counts:
            waits.append(1000 * (time.perf_counter() - begin))
            sources[source] = sources.get(source, 0) + 1

    async with asker(way, target) as asks, asyncio.TaskGroup() as tasks:
        chance = np.random.default_rng(2)
        begin, sent = time.perf_counter(), 0
        while (passed := time.perf_counter() - begin) < _WARM_S + seconds:
            while sent < passed * rate:
                card, shop, device = (DISTINCT * chance.random(3) ** 3).astype(int).tolist()
                now = time.time_ns()
                event = json.loads(payment(str(now), now // 1_000_000, card, shop, device, card / 4))
                tasks.create_task(one(asks, event, passed > _WARM_S))
                sent += 1
            await asyncio.sleep(0.0005)
    p50, p99, longest = np.quantile(waits, (0.5, 0.99, 1.0)).round(1).tolist()
    within = {str(goal): round(float(np.mean(np.array(waits) <= goal)), 4) for goal in _GOALS_MS}
    print(
        json.dumps(
            {
                "wait": {"p50": p50, "p99": p99, "max": longest, "events": len(waits)},
                "within_ms": within,
                "sources": sources,
            }
        )
    )


@asynccontextmanager
async def asker(way: str, target: str) -> AsyncIterator[Ask]:
    """One of the ways to ask."""
    if way == "client":
        client = await asyncio.to_thread(Client, target, fallback="late")

        async def directly(event: dict[str, Any]) -> str:
            return (await client.ask_async(event, deadline_ms=_DEADLINE_MS)).source

        yield directly
        await asyncio.to_thread(client.close)
        return
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def by_http(event: dict[str, Any]) -> str:
            async with session.post(f"{target}?deadline-ms={_DEADLINE_MS}", json=event) as response:
                return str((await response.json()).get("source", response.status))

        yield by_http


def page(found: dict[str, Any]) -> str:
    """The page of the reference."""
    rows = [
        f"| {rate} | {way} | {times(of['prediction'])} | {times(of.get('wait', {}))} | {share(of)} |"
        for rate, ways in found["rates"].items()
        for way, of in ways.items()
    ]
    commits = [
        f"| {rate} | {times(ways['plain']['prediction'])} | {times(ways['plain']['uncommitted'])} |"
        for rate, ways in found["rates"].items()
    ]
    return _PAGE.format(
        rows="\n".join(rows),
        commits="\n".join(commits),
        seconds=f"{found['seconds']:g}",
        cores=found["cores"],
        load=" to ".join(map(str, found["load"])),
        date=found["date"],
        client=found["versions"]["confluent-kafka"],
        server=found["versions"]["aiohttp"],
    )


def times(of: dict[str, float]) -> str:
    """Median and p99 for a table."""
    return f"{of['p50']:g} / {of['p99']:g}" if of else ""


def share(of: dict[str, Any]) -> str:
    """The share that was answered by each deadline."""
    return ", ".join(f"{goal} ms: {100 * part:.1f} %" for goal, part in of.get("within_ms", {}).items())


_PAGE = """# Benchmark of waiting for a prediction

`make bench-gateway` measures this (`QUICK=1`: one rate, three minutes) and writes `build/bench/gateway.json`; with
`ARGS=--page` also this page. At each rate events are sent for {seconds} s after a warm-up, by a plain producer, by
[`penstock.client`](../guides/asking.md), and by HTTP through `penstock gateway run`. Times are milliseconds, p50 / p99.

| events/s | sent by | until a plain reader has the prediction | until the caller has the answer | answered within |
|---|---|---|---|---|
{rows}

Both times of a row are of the same events, and both begin before the event is handed over. Their difference is what
waiting adds: the way back to the caller, and by HTTP the way there.

A client waits until a prediction is committed. This is what that costs, on the events of the plain producer:

| events/s | committed | as soon as it is written |
|---|---|---|
{commits}

On {cores} cores that broker, Flink, Triton, scorer, sender and readers share (load {load}), {date}, confluent-kafka
{client}, aiohttp {server}. The pipeline is that of the [benchmark of the pipeline](pipeline-benchmark.md): three views,
42 features, single broker.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        asyncio.run(ask(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
    else:
        command.run(main)
