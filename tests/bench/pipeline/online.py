"""How long a read of the online store takes, beside a raw GET of the same bytes and beside Feast.

``python -m tests.bench.pipeline.online`` starts a Redis, writes the vectors of some entities as the sink does, and
reads them in all ways by turns, in many rounds. Feast (``python3 -m deploy.bootstrap bench-feast``) has the same
features of the same entities on the same Redis.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.errors import PenstockError
from penstock.online import OnlineFeatures
from penstock.paths import BUILD, ROOT, venv_python
from penstock.redis_client import connect_redis
from penstock.settings import Settings
from sinks.emitted_vectors import EmittedVector
from sinks.stores.redis import RedisStore, redis_key
from streams.plan.model import PipelinePlan, ViewPlan
from streams.plan.project import open_project
from tests.bench.pipeline import bench_online

ENTITIES = 1_000
_MANY = 100
_NULLS = 0.05
# The newest event of an entity: some of the windows of most vectors have passed.
_OLDEST_MS = 2 * 3_600_000
_PARTS = [view.name for view in bench_online.parts]
# How often each way is measured in a round.
_READS = {
    "raw_get_us": 200,
    "raw_get_one_connection_us": 200,
    "get_us": 200,
    "many_100_us": 10,
    "many_100x3_us": 10,
    "columns_100_us": 10,
    "columns_100x3_us": 10,
    "feast_get_us": 50,
    "feast_100_us": 5,
    "feast_100x3_us": 5,
}
_RATIOS = {
    "ratio_to_raw": ("get_us", "raw_get_us"),
    "ratio_to_raw_one_connection": ("get_us", "raw_get_one_connection_us"),
    "ratio_to_feast": ("feast_get_us", "get_us"),
    "ratio_to_feast_100": ("feast_100_us", "many_100_us"),
    "ratio_to_feast_100x3": ("feast_100x3_us", "many_100x3_us"),
    "ratio_to_feast_100_columns": ("feast_100_us", "columns_100_us"),
    "ratio_to_feast_100x3_columns": ("feast_100x3_us", "columns_100x3_us"),
}

Times = list[float]


def measure(settings: Settings, folder: Path, *, rounds: int = 30) -> dict[str, Any]:
    """Measure all ways of reading on a running Redis, of which only keys of this benchmark are written and deleted.

    Args:
        settings: Where Redis is.
        folder: For the files of Feast.
        rounds: How often all ways take turns.

    Returns:
        ``p50`` and ``p99`` in microseconds by way; ratios, each the median over the rounds of the ratio of their
        medians; versions.

    Raises:
        PenstockError: if the environment of Feast is missing, or Feast fails.
    """
    features = _features(random.Random(1))
    times: dict[str, list[Times]] = {way: [] for way in _READS}
    with (
        connect_redis(settings.redis) as pool,
        connect_redis(settings.redis, one_connection=True) as one,
        _written(pool, features) as plan,
        OnlineFeatures(bench_online.__file__, settings) as online,
        _Feast(settings, folder, features) as feast,
    ):
        _check(online, feast, features)
        cards = features["wide"]["columns"]["card"]
        keys = [redis_key(plan, plan.view("wide"), card) for card in cards]
        draw = random.Random(2)

        def some() -> list[str]:
            return draw.sample(cards, _MANY)

        ways: dict[str, Callable[[int], Times]] = {
            "raw_get_us": lambda n: _timed(pool.get, draw.choices(keys, k=n)),
            "raw_get_one_connection_us": lambda n: _timed(one.get, draw.choices(keys, k=n)),
            "get_us": lambda n: _timed(lambda card: online.get("wide", card), draw.choices(cards, k=n)),
            "many_100_us": lambda n: _timed(online.get_many, [[("wide", card) for card in some()] for _ in range(n)]),
            "many_100x3_us": lambda n: _timed(
                online.get_many, [[(view, card) for card in some() for view in _PARTS] for _ in range(n)]
            ),
            "columns_100_us": lambda n: _timed(online.get_columns, [{"wide": some()} for _ in range(n)]),
            "columns_100x3_us": lambda n: _timed(online.get_columns, [dict.fromkeys(_PARTS, some()) for _ in range(n)]),
            "feast_get_us": lambda n: feast.time(["wide"], draw.choices(cards, k=n), 1),
            "feast_100_us": lambda n: feast.time(["wide"], [card for _ in range(n) for card in some()], _MANY),
            "feast_100x3_us": lambda n: feast.time(_PARTS, [card for _ in range(n) for card in some()], _MANY),
        }
        for way, read in ways.items():  # caches are filled
            read(max(2, _READS[way] // 4))
        for _ in range(rounds):
            for way in draw.sample(list(ways), len(ways)):
                times[way].append(ways[way](_READS[way]))
        server = pool.info("server")["redis_version"]
    return {
        **{way: _percentiles([one for found in of_rounds for one in found]) for way, of_rounds in times.items()},
        **{name: _ratio(times[over], times[under]) for name, (over, under) in _RATIOS.items()},
        "features": len(features["wide"]["types"]),
        "entities": ENTITIES,
        "rounds": rounds,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {
            "python": platform.python_version(),
            "redis-server": server,
            **{name: version(name) for name in ("redis", "hiredis", "numpy")},
            "feast": feast.versions,
        },
    }


def _features(draw: random.Random) -> dict[str, dict[str, Any]]:
    """The types of each view's features, and a column of values for each; ``card`` names the entities."""
    plan = open_project(bench_online.__file__).plan
    cards = [f"card-{number:06d}" for number in range(ENTITIES)]
    found = {}
    for view in plan.views:
        types = {output.name: output.type for output in view.outputs}
        columns: dict[str, list[Any]] = {"card": cards}
        for name, kind in types.items():
            columns[name] = [
                draw.randrange(1, 300) if kind == "long" else None if draw.random() < _NULLS else 250 * draw.random()
                for _ in cards
            ]
        found[view.name] = {"types": types, "columns": columns}
    return found


@contextmanager
def _written(pool: Any, features: Mapping[str, Any]) -> Iterator[PipelinePlan]:
    """The vectors in Redis, as the sink writes them."""
    project = open_project(bench_online.__file__)
    store = RedisStore(project, pool, grace_ms=0)
    store.open()
    vectors = [vector for view in project.plan.views for vector in _vectors(view, features[view.name]["columns"])]
    store.write([[store.stored(vector) for vector in vectors]]).result()
    try:
        yield project.plan
    finally:
        pool.delete(*[redis_key(project.plan, vector.view, vector.entity) for vector in vectors])


def _vectors(view: ViewPlan, columns: Mapping[str, list[Any]]) -> Iterator[EmittedVector]:
    now, draw = time.time_ns() // 1_000_000, random.Random(3)
    for row, card in enumerate(columns["card"]):
        of_event = {"entity": card, "epoch": now, "seq": row, "as_of": now - draw.randrange(_OLDEST_MS), "late": False}
        yield EmittedVector(view, "e", now, of_event | {f.name: columns[f.name][row] for f in view.outputs})


class _Feast:
    """Feast, in a process of its own environment."""

    def __init__(self, settings: Settings, folder: Path, features: Mapping[str, Any]) -> None:
        python = venv_python("bench-feast")
        if not python.exists():
            raise PenstockError(
                "the environment of Feast is missing",
                where=str(python),
                safe="nothing was measured",
                next="python3 -m deploy.bootstrap bench-feast",
            )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "features.json").write_text(json.dumps(features), encoding="utf-8")
        self._log = folder / "feast.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(python),
                    "-m",
                    "tests.bench.pipeline.feast_store",
                    str(folder),
                    urlsplit(settings.redis.url).netloc,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, "FEAST_USAGE": "False"},
            )
        self.versions: dict[str, str] = self._answer()

    def read(self, view: str, card: str) -> dict[str, Any]:
        """The features of one entity."""
        return self._ask("read", view, card)

    def time(self, views: list[str], cards: list[str], rows: int) -> Times:
        """Microseconds of each read of so many entities at a time."""
        return self._ask("time", views, cards, rows)

    def _ask(self, *command: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PenstockError("Feast has ended", where=str(self._log), next=f"cat {self._log}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def _check(online: OnlineFeatures, feast: _Feast, features: Mapping[str, Any]) -> None:
    """That both read what was written."""
    for view, given in features.items():
        for row in range(0, ENTITIES, 97):
            card = given["columns"]["card"][row]
            expected = {name: given["columns"][name][row] for name in given["types"]}
            vector = online.get(view, card, at_ms=0)
            assert vector.values == expected, (view, card)
            assert feast.read(view, card) == expected, (view, card)


def _timed(read: Callable[[Any], Any], arguments: list[Any]) -> Times:
    """Microseconds of each read."""
    times = []
    for argument in arguments:
        begin = time.perf_counter_ns()
        read(argument)
        times.append((time.perf_counter_ns() - begin) / 1_000)
    return times


def _percentiles(times: Times) -> dict[str, float]:
    return {"p50": round(statistics.median(times), 1), "p99": round(statistics.quantiles(times, n=100)[98], 1)}


def _ratio(over: list[Times], under: list[Times]) -> float:
    ratios = [statistics.median(one) / statistics.median(other) for one, other in zip(over, under, strict=True)]
    return round(statistics.median(ratios), 2)


def main(arguments: list[str] | None = None) -> int:
    """Measure; prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pipeline.online", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--folder", type=Path, default=BUILD / "bench" / "online", help="where the stack and logs go")
    options = parser.parse_args(arguments)
    stack = Stack(options.folder / "stack", Ports.free())
    try:
        stack.up(["redis"])
        os.environ.update(stack.environment())
        found = measure(Settings(), options.folder / "feast", rounds=5 if options.quick else 30)
    finally:
        stack.down(wipe=True)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
