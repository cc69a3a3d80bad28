"""The page of the pipeline's benchmark, ``docs/reference/pipeline-benchmark.md``, and its plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from matplotlib.axes import Axes

from examples.demo import scales
from examples.demo.markup import el
from examples.demo.plots import bar, draw
from tests.bench.engine.benchmark_page import STYLE
from tests.bench.pipeline.parts import PARTS

_NAMES = {
    "job": "feature job",
    "redis": "Redis sink",
    "cassandra": "Cassandra sink",
    "scorer": "scorer",
    "drift": "drift app",
}
_BARE = {
    "redis": "SETs in pipelines",
    "cassandra": "the driver's unlogged batches",
    "scorer": "consume, infer, copy, commit",
    "drift": "consume and commit",
}
_PLOT = "pipeline-benchmark.svg"
_METHOD = """\
Three views of 14 features each, of three entities; a model of 100 trees with all 42 as inputs; ten monitors. Each part
runs by itself, as one process, on the records that the parts before it have written, with the default settings.
*Before* is commit {before}, on topics of its own, by turns in the same run. *Bare* is a client that only moves bytes.
"""


def write(found: Mapping[str, Any], docs: Path) -> None:
    """Write the page and its plot into ``docs``."""
    (docs / "pipeline-benchmark.md").write_text(page(found), encoding="utf-8")
    (docs / _PLOT).write_text(plot(found), encoding="utf-8")


def page(found: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    return "\n".join(
        [
            "# Benchmark of the whole pipeline\n",
            f"Written by `make bench-pipeline{' QUICK=1' if found['quick'] else ''} ARGS=--page` on {found['date']}; "
            "do not edit.",
            f"{found['cores']} cores; servers and the measured part share them. Load average {found['load'][0]:.1f} "
            "before the run.\n",
            f"![Events per second of each part]({_PLOT})\n",
            _METHOD.format(before=found["before_commit"]),
            _rates(found),
            _limits(found),
            _latency(found),
            _online(found),
            f"## Versions\n\npython {found['python']}, "
            + ", ".join(f"{name} {one}" for name, one in found["versions"].items())
            + ".\n",
        ]
    )


def plot(found: Mapping[str, Any]) -> str:
    """The rates of the parts as bars, in the reader's colour scheme."""
    rates = [
        (f"{_NAMES[part]}{suffix}", found[key][part], colour)
        for part in PARTS
        for key, suffix, colour in (("events_per_s", "", "c1"), ("before", ", before", "c2"), ("bare", ", bare", "c3"))
        if part in found[key]
    ]
    labels = [f"{name}  {rate:,.0f}" for name, rate, _ in rates]

    def paint(ax: Axes) -> None:
        scales.linear(ax.xaxis, "events per second", max(rate for _, rate, _ in rates))
        for y, (name, rate, colour) in zip(scales.rows(ax, labels), rates, strict=True):
            bar(ax, y, rate, (rate, rate), colour, f"{name}: {rate:,.0f} events/s")

    picture = draw(paint, 860, 70 + 26 * len(rates), "Events per second of each part")
    picture.set("xmlns", "http://www.w3.org/2000/svg")
    picture.insert(0, el("style", {}, STYLE))
    return ET.tostring(picture, encoding="unicode") + "\n"


def _rates(found: Mapping[str, Any]) -> str:
    lines = [
        "| Part | events/s | before | times | bare client | share of it | CPU per event: part | server | broker |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for part in PARTS:
        rate, then, bare = found["events_per_s"][part], found["before"][part], found["bare"].get(part)
        cpu = found["rounds"]["now"][part][-1]["cpu_us"]
        ceiling = f"{_BARE[part]}: {bare:,.0f} | {rate / bare:.2f}" if bare else "| "
        times = sorted(found["times_before"][part])
        span = f"{times[0]:g}" if times[0] == times[-1] else f"{times[0]:g} to {times[-1]:g}"
        used = " | ".join(f"{cpu[name]:.1f} µs" if name in cpu else "" for name in ("part", "server", "broker"))
        lines.append(f"| {_NAMES[part]} | {rate:,.0f} | {then:,.0f} | {span} | {ceiling} | {used} |")
    return "\n".join(lines) + "\n"


def _limits(found: Mapping[str, Any]) -> str:
    costs = {part: sum(found["rounds"]["now"][part][-1]["cpu_us"].values()) for part in PARTS}
    slowest, total = min(PARTS, key=lambda part: found["events_per_s"][part]), sum(costs.values())
    each = ", ".join(f"{_NAMES[part]} {cost:.0f} µs" for part, cost in costs.items())
    return (
        f"The {_NAMES[slowest]} limits a pipeline with all parts. An event costs, servers included:\n{each}.\n"
        f"Together that is {total:.0f} µs: a core takes about {1e6 / total:,.0f} events a second through all parts.\n"
    )


def _latency(found: Mapping[str, Any]) -> str:
    lines = [
        "## Latency\n",
        "From sending a raw event to a reader of committed records, at a steady rate. The floor is two bare hops, the",
        "second in transactions.\n",
        "| events/s | with | to the features, p50 | p99 | to the prediction, p50 | p99 | floor p50 | p99 |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for suffix, parts in (("", "every part"), ("_of_job_and_scorer_alone", "job and scorer")):
        for rate, measured in found[f"latency_ms{suffix}"].items():
            floor = found["floor_ms"][rate]
            times = [measured["features"], measured["prediction"], floor]
            cells = " | ".join(f"{one[quantile]:g} ms" for one in times for quantile in ("p50", "p99"))
            lines.append(f"| {int(rate):,} | {parts} | {cells} |")
    # A sample after each rate, then one for each minute of the soak.
    first, *soak = found["memory_mb"][len(found["latency_ms"]) - 1 :]
    last = soak[-1] if soak else first
    memory = ", ".join(f"{_NAMES[part]} {first[part]} → {last[part]} MB" for part in first)
    lines.append(f"\nMemory after these rates, and after {len(soak)} minutes more at 2,000 events/s:\n{memory}.\n")
    return "\n".join(lines)


def _online(found: Mapping[str, Any]) -> str:
    reads = found["online"]
    lines = [
        "## Online reads\n",
        f"Vectors of {reads['features']} features from Redis, one process, in microseconds a read.\n",
        "| Read | p50 | p99 |",
        "|---|---:|---:|",
    ]
    names = {
        "raw_get_us": "GET of the same bytes",
        "get_us": "`OnlineFeatures.get`",
        "many_100x3_us": "`get_many`, 100 entities of 3 views",
        "columns_100x3_us": "`get_columns`, the same",
        "feast_get_us": "Feast, one entity",
        "feast_100x3_us": "Feast, 100 entities of 3 views",
    }
    lines += [f"| {name} | {reads[key]['p50']:,.0f} | {reads[key]['p99']:,.0f} |" for key, name in names.items()]
    raw, one, many = (reads[f"ratio_to_{name}"] for name in ("raw", "feast", "feast_100x3"))
    lines.append(
        f"\nOne vector costs {raw:.2f} times a GET. Feast takes {one:.0f} times as long for one entity, and "
        f"{many:.0f} times as long\nfor 100 entities of three views.\n"
    )
    return "\n".join(lines)
