from typing import Any

from tests.bench.pipeline.page import page, plot
from tests.bench.pipeline.parts import PARTS


def found() -> dict[str, Any]:
    """A run, as in ``pipeline.json``."""
    rates = {part: 10_000.0 * (place + 1) for place, part in enumerate(PARTS)}
    rounds = {part: [{"cpu_us": {"part": 10.0, "broker": 5.0}}] for part in PARTS}
    times = {"p50": 1.5, "p99": 9.0}
    paced = {"1000": {"features": times, "prediction": {"p50": 7.0, "p99": 31.0}}}
    reads = ("raw_get_us", "get_us", "many_100x3_us", "columns_100x3_us", "feast_get_us", "feast_100x3_us")
    return {
        "quick": True,
        "date": "2026-11-28",
        "cores": 2,
        "load": [0.1, 2.0],
        "before_commit": "e20cb06",
        "events_per_s": rates,
        "before": {part: rate / 5 for part, rate in rates.items()},
        "times_before": {part: [5.0, 4.5] for part in PARTS},
        "bare": {"redis": 40_000.0, "scorer": 80_000.0},
        "rounds": {"now": rounds},
        "latency_ms": paced,
        "latency_ms_of_job_and_scorer_alone": paced,
        "floor_ms": {"1000": times},
        "memory_mb": [{"job": 600}, {"job": 601}, {"job": 602}],
        "online": dict.fromkeys(reads, times)
        | {"features": 42, "ratio_to_raw": 1.2, "ratio_to_feast": 20.0, "ratio_to_feast_100x3": 30.0},
        "python": "3.11",
        "versions": {"redis": "7"},
    }


def test_the_page_has_a_line_for_each_part_with_its_ratios_and_names_the_slowest() -> None:
    text = page(found())
    assert "| Redis sink | 20,000 | 4,000 | 4.5 to 5 | SETs in pipelines: 40,000 | 0.50 | 10.0 µs |  | 5.0 µs |" in text
    assert "The feature job limits a pipeline" in text
    assert "Together that is 75 µs: a core takes about 13,333 events a second" in text
    assert "| 1,000 | every part | 1.5 ms | 9 ms | 7 ms | 31 ms | 1.5 ms | 9 ms |" in text


def test_memory_is_that_of_the_soak() -> None:
    assert "after 2 minutes more at 2,000 events/s:\nfeature job 600 → 602 MB." in page(found())


def test_the_plot_has_a_bar_for_each_rate() -> None:
    svg = plot(found())
    assert [text in svg for text in ("scorer  40,000", "scorer, before  8,000", "scorer, bare  80,000")] == [True] * 3
