"""Writes docs/reference/benchmarks.md and its plot from ``engine.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from matplotlib.axes import Axes

from examples.demo import scales
from examples.demo.markup import el
from examples.demo.plots import bar, draw
from tests.bench.engine.findings import PENSTOCK_NAME, goals

_TITLES = {
    "penstock": "Penstock",
    "bare_forward": "Flink SQL, decode and forward only",
    "flink_sql_over": "Flink SQL `OVER`, one window",
    "pyflink_process": "PyFlink, process mode",
    "pyflink_thread": "PyFlink, thread mode",
    "bytewax": "Bytewax",
    "quixstreams": "Quix Streams",
    "faust": "Faust",
}
_GROUPS = {
    "tiles": "tiles per window (5 windows, 20 cards)",
    "windows": "windows (60 tiles each, 100 cards)",
    "entities": "cards (5 windows, few tiles each)",
    "keys": "keys (100 cards; `zipf`: one card has half of the traffic)",
    "late": "share of late events (up to an hour)",
    "ids": "event ids, all different",
    "column": "a derived column (`amount > 500`), by",
    "state": "where state is kept (100 cards, in use all the time)",
    "cold": "where state is kept (100,000 cards, in use now and then)",
}
STYLE = """
svg { --ink: #1b1d21; --muted: #5a5f68; --grid: #eceae5; --c1: #2463a8; --c2: #b84a08; --c3: #6d727b; fill: none; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e9e8e4; --muted: #a3a8b0; --grid: #33383f; --c1: #74aef2; --c2: #f0a15e; --c3: #989da6; }
}
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
"""
_PLOT = "benchmarks.svg"
_METHOD = Path(__file__).with_name("method.md")


def write(found: Mapping[str, Any], docs: Path) -> None:
    """Write the page and its plot into ``docs``."""
    (docs / "benchmarks.md").write_text(page(found), encoding="utf-8")
    (docs / _PLOT).write_text(plot(found), encoding="utf-8")


def page(found: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    parts = [
        "# Benchmarks of the feature engine\n",
        f"Written by `{found['command']}` on {found['date']}; do not edit.\n{_machine(found)}\n",
        f"![Events per second of each engine, five windows of one entity]({_PLOT})\n",
        _verdicts(found),
        *(_work(name, work) for name, work in found["works"].items()),
        _METHOD.read_text(encoding="utf-8").format(
            rounds=found["rounds"], row_rounds=found["row_rounds"], settle=found["settle_s"]
        ),
        _growth(found),
        _latency(found),
        _limits(found),
        _left_out(found),
        _versions(found),
    ]
    return "\n".join(part for part in parts if part)


def plot(found: Mapping[str, Any]) -> str:
    """The first workload's rates as bars, in the reader's colour scheme."""
    empty: dict[str, Any] = {"events_per_s": {}, "least_greatest": {}}
    work = next(iter(found["works"].values()), empty)
    names = sorted(work["events_per_s"], key=lambda name: -work["events_per_s"][name])
    most = max((span[1] for span in work["least_greatest"].values()), default=1)
    labels = [f"{_plain(name)}  {work['events_per_s'][name]:,.0f}" for name in names]

    def paint(ax: Axes) -> None:
        scales.linear(ax.xaxis, "events per second", most)
        for y, name in zip(scales.rows(ax, labels), names, strict=True):
            rate = work["events_per_s"][name]
            colour = "c1" if name == PENSTOCK_NAME else "c3" if name == "bare_forward" else "c2"
            bar(ax, y, rate, tuple(work["least_greatest"][name]), colour, f"{_plain(name)}: {rate:,.0f} events/s")

    picture = draw(paint, 860, 70 + 34 * len(names), "Events per second of each engine")
    picture.set("xmlns", "http://www.w3.org/2000/svg")
    picture.insert(0, el("style", {}, STYLE))
    return ET.tostring(picture, encoding="unicode") + "\n"


def _machine(found: Mapping[str, Any]) -> str:
    machine, load = found["machine"], found["load_average"]
    text = (
        f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']:g} GB, {machine['system']}; "
        "Kafka and the measured engine share them."
    )
    if load and load[0] > 1.5:
        text += (
            f" **The machine was busy with other work (load average {load[0]:g} before the run): compare ratios only.**"
        )
    return text


def _verdicts(found: Mapping[str, Any]) -> str:
    names = {
        "python": "the fastest Python peer",
        "flink_sql_over": "Flink SQL `OVER`, one window",
        "bare_forward": "decode and forward alone",
        "cpu:python": "the Python peer with the least CPU: its CPU per event ÷ Penstock's",
        "cpu:bare_forward": "decode and forward alone: Penstock's CPU per event ÷ its",
        "tiles:600": "cost of 600 tiles per window instead of 60",
        "entities:1000000": "cost of a million cards instead of a thousand",
        "keys:zipf": "cost when one key has half of the traffic",
        "state:RocksDB": "cost of RocksDB instead of the heap",
    }
    reached = goals(found)
    if not reached:
        return "A quick run has no ratios: it is too short for its engines to settle.\n"
    lines = ["| Penstock against | reached | least to greatest | target |", "|---|---:|---:|---:|"]
    for name, goal in reached.items():
        mark = "" if goal.is_met else " (missed)"
        lines.append(
            f"| {names[name]} | {goal.reached:.2f} x{mark} | {goal.least:.2f} to {goal.greatest:.2f} "
            f"| {'≤' if goal.is_cost else '≥'} {goal.target:g} x |"
        )
    text = "\n".join(lines) + "\n"
    text += (
        "\nCPU per event is the steadier measure: a rate also depends on what else the two cores do. Quote the least\n"
        "values of several runs, not the best of one.\n"
    )
    if {"python", "bare_forward"} <= reached.keys() and not reached["python"].is_met:
        bound = reached["python"].reached / reached["bare_forward"].reached
        text += (
            f"\nDecoding and forwarding alone, without any window, is {bound:.1f} times as fast as the fastest Python\n"
            "peer. No job on Flink between the same two topics can be much faster.\n"
        )
    return text


def _work(name: str, work: Mapping[str, Any]) -> str:
    lines = [
        f"## {name.capitalize()}\n",
        "| Engine | events/s, median | least to greatest | Penstock ÷ it | CPU per event | least to greatest "
        "| it ÷ Penstock | of the broker |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    rates = work["events_per_s"]
    for engine in sorted(rates, key=lambda e: -rates[e]):
        low, high = work["least_greatest"][engine]
        cpu, span = work["cpu_us_per_event"].get(engine, {}), work["cpu_least_greatest"].get(engine)
        used, of_broker = (f"{cpu[part]:.2f} µs" if part in cpu else "" for part in ("engine", "broker"))
        used_span = "" if span is None else f"{span[0]:.2f} to {span[1]:.2f}"
        faster, dearer = (_ratio(work[of], engine) for of in ("ratios", "cpu_ratios"))
        lines.append(
            f"| {_TITLES[engine]} | {rates[engine]:,.0f} | {low:,.0f} to {high:,.0f} | {faster} "
            f"| {used} | {used_span} | {dearer} | {of_broker} |"
        )
    return "\n".join(lines) + "\n"


def _ratio(ratios: Mapping[str, list[float]], engine: str) -> str:
    if engine not in ratios:
        return ""
    middle, least, greatest = (f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in ratios[engine])
    return middle if least == greatest else f"{middle} ({least} to {greatest})"


def _growth(found: Mapping[str, Any]) -> str:
    if not found["growth"]:
        return ""
    lines = [
        "## What an event costs as things grow\n",
        "Penstock only. Cost is relative to the first row of each group: the median of the rounds, with the least and",
        "the greatest if there were several. State is the size of a checkpoint.\n",
        "| What grows | | events/s | µs per event | cost | bytes of state per card |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for group, rows in found["growth"].items():
        for place, (value, row) in enumerate(rows.items()):
            state = row["state_bytes_per_entity"]
            said = value if not value.isdigit() else f"{int(value):,}"
            title = _GROUPS[group] if place == 0 else ""
            lines.append(
                f"| {title} | {said} | {row['events_per_s']:,.0f} | {row['us_per_event']:.2f} "
                f"| {_cost(row)} | {'' if state is None else f'{state:,}'} |"
            )
    full = ", ".join(f"{size:,.0f} ({name})" for name, size in found["state_bytes_per_entity"].items())
    return "\n".join(lines) + (f"\n\nBytes of state per card with all windows full: {full}.\n" if full else "\n")


def _cost(row: Mapping[str, Any]) -> str:
    if row["cost"] is None:
        return ""
    least, greatest = row["cost_span"]
    return f"{row['cost']:.2f}" if least == greatest else f"{row['cost']:.2f} ({least:.2f} to {greatest:.2f})"


def _latency(found: Mapping[str, Any]) -> str:
    if not found["latency_ms"]:
        return ""
    lines = [
        "## Latency\n",
        "The time from sending a raw event to its features at a consumer, at a steady rate. The second measurement is",
        "two bare hops through Kafka, by a relay that copies each record. In both, the sender collects events for one",
        "millisecond (linger), so that it leaves the two cores to the measured process.\n",
        "| events/s | Penstock p50 | p99 | two bare hops p50 | p99 |",
        "|---:|---:|---:|---:|---:|",
    ]
    for rate, took in found["latency_ms"].items():
        floor = found["floor_ms"][rate]
        times = " | ".join(f"{one[q]:.1f} ms" for one in (took, floor) for q in ("p50", "p99"))
        lines.append(f"| {int(rate):,} | {times} |")
    return "\n".join(lines) + "\n"


def _limits(found: Mapping[str, Any]) -> str:
    profile = found["profile"]
    if not profile.get("task_thread"):
        return ""
    shares = ", ".join(f"{part} {share:.0%}" for part, share in profile["task_thread"].items())
    return (
        "## Where the time goes\n\n"
        "One more run of Penstock on the first workload, recorded by the JVM's flight recorder. Its task is one\n"
        f"thread; of that thread's time:\n{shares}.\n"
    )


def _left_out(found: Mapping[str, Any]) -> str:
    reasons = [f"{name}: {why}" for name, why in found["failures"].items()]
    return "## What was not measured\n\n" + "\n".join(f"- {reason}" for reason in reasons) + "\n" if reasons else ""


def _versions(found: Mapping[str, Any]) -> str:
    return "## Versions\n\n" + ", ".join(f"{name} {version}" for name, version in found["versions"].items()) + ".\n"


def _plain(name: str) -> str:
    return _TITLES[name].replace("`", "")
