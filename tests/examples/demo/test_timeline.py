"""A timeline has rates at even steps, percentiles of each second, and phases without gaps."""

from __future__ import annotations

from examples.demo.timeline import Recorder, Timeline


def recorded() -> Timeline:
    recorder = Recorder(started=100.0)
    recorder.begin_phase("history", 100.0)
    recorder.add_sample({"produced": 0}, {}, 100.0)
    recorder.add_sample({"produced": 1_000}, {"scorer": 40}, 102.0)
    recorder.begin_phase("live", 102.0)
    recorder.add_sample({"produced": 1_100}, {"scorer": 0}, 103.0)
    recorder.add_arrivals([(102.2, float(ms)) for ms in range(1, 101)] + [(103.9, 7.0)])
    return recorder.timeline(104.5)


def test_rates_interpolate_counts_between_samples() -> None:
    assert recorded().rates("produced") == [(0.0, 500.0), (1.0, 500.0), (2.0, 100.0)]


def test_a_stage_without_samples_has_no_rates() -> None:
    assert recorded().rates("predictions") == []


def test_the_lag_of_a_consumer_begins_with_its_first_sample() -> None:
    assert recorded().lag("scorer") == [(2.0, 40.0), (3.0, 0.0)]


def test_each_phase_ends_where_the_next_begins_and_the_last_with_the_run() -> None:
    assert [(p.name, p.from_s, p.to_s) for p in recorded().phases] == [("history", 0.0, 2.0), ("live", 2.0, 4.5)]


def test_percentiles_are_of_the_predictions_that_arrived_in_that_second() -> None:
    first, second = recorded().latencies
    assert (first.at_s, first.count, first.p50, first.p99) == (2.0, 100, 50.5, 99.01)
    assert (second.at_s, second.count, second.p50) == (3.0, 1, 7.0)


def test_a_timeline_is_the_same_after_writing_and_reading() -> None:
    timeline = recorded()
    assert Timeline.model_validate_json(timeline.model_dump_json()) == timeline
