"""A running pipeline exposes every metric that alerts and dashboard use, with the right values."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.prometheus_config import MONITORING
from deploy.local.stack import Stack
from examples.demo.command_runner import CommandRunner
from loop.watch_metrics import WatchMetrics
from penstock.client import ClientMetrics
from penstock.gateway.gateway_metrics import GatewayMetrics
from penstock.kafka.topics import create_topics
from penstock.settings import Settings
from scoring.quality.quality_metrics import QualityMetrics
from scoring.repository import ModelRepository
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Pipeline
from streams.drift.data_quality.quality_metrics import DataQualityMetrics
from streams.drift.drift_reference import DriftReference, MonitorReference, Thresholds
from streams.plan.pipeline_topics import pipeline_topics
from tests.deploy.monitoring_files import expressions, rules
from tests.promql import grouping_labels, selectors
from tests.scoring.scorer_bench import DEFINITION, add_model, load_model, unload_model, wait_for
from tests.streams.drift.references import add_reference

PARTITIONS, EVENTS, REFUSED, DUPLICATES = 2, 600, 6, 12
PARTS = ("sink-redis", "sink-cassandra", "scorer", "drift", "rollout", "archive")
# Metrics of Prometheus itself, and labels that it adds to every series.
OWN_METRICS, OWN_LABELS = {"up", "ALERTS"}, {"job", "instance"}


@dataclass(frozen=True)
class Sample:
    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Scraped:
    """The metrics of a pipeline that has processed all its input."""

    pipeline: Pipeline
    samples: dict[str, list[Sample]]
    health: dict[str, httpx.Response]

    def value(self, endpoint: str, name: str, **labels: str) -> float:
        """The sum over the series of a metric that have these labels."""
        found = [s.value for s in self.samples[endpoint] if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"{endpoint} shows no {name} {labels}"
        return sum(found)


@pytest.fixture(scope="module")
def scraped(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """The metrics of a pipeline that has run once, from raw event to drift alert, with a candidate in shadow."""
    folder = tmp_path_factory.mktemp("monitored")
    variables = {**stack.environment(), "PENSTOCK_CASSANDRA_KEYSPACE": "monitored"}
    with pytest.MonkeyPatch.context() as patch, CommandRunner(variables, folder / "logs") as services:
        for name, value in variables.items():
            patch.setenv(name, value)
        settings = Settings()
        reference = _define(folder)
        pipeline = load_pipeline(str(reference))
        create_topics(pipeline_topics(pipeline), settings.kafka.access)
        add_model(pipeline, settings)
        _add_drift_reference(pipeline, settings)
        load_model(pipeline, settings)
        add_model(pipeline, settings)  # the candidate
        policy = str(_define_policy(folder, pipeline))
        services.call("apply", "rollout", "apply", str(reference), "-f", policy, "--reason", "to be seen")
        services.start("sink-redis", "sink", "run", "redis", str(reference), "--metrics-port", "0")
        services.start("sink-cassandra", "sink", "run", "cassandra", str(reference), "--metrics-port", "0")
        services.start("scorer", "scorer", "run", str(reference), "--metrics-port", "0", "--deadline-ms", "10000")
        services.start("drift", "drift", "run", str(reference), "--metrics-port", "0")
        services.start("rollout", "rollout", "controller", "run", str(reference), "--metrics-port", "0")
        archive = ("archive", "run", str(reference), "--out", str(folder / "archive"), "--every", "1s")
        services.start("archive", *archive, "--metrics-port", "0")
        services.call("job", "job", "start", str(reference), "--checkpoint-interval-ms", "500")
        _produce(pipeline, settings)
        urls = {part: _logged_address(folder / "logs" / f"{part}.log") for part in PARTS}
        urls["jobmanager"] = f"http://127.0.0.1:{stack.ports['jobmanager_metrics']}"
        urls["taskmanager"] = f"http://127.0.0.1:{stack.ports['taskmanager_metrics']}"
        urls["triton"] = f"http://127.0.0.1:{stack.ports['triton_metrics']}"
        _await_done(urls)
        services.start("parity", "parity", str(reference), "--every", "15m", "--last", "1h", "--metrics-port", "0")
        urls["parity"] = _logged_address(folder / "logs" / "parity.log")
        wait_for(lambda: _runs(urls["parity"]) > 0, 60, "a comparison")
        yield Scraped(
            pipeline,
            {name: _scrape(url) for name, url in urls.items()},
            {part: httpx.get(f"{urls[part]}/healthz", trust_env=False) for part in PARTS},
        )
        services.call("stop", "job", "stop", str(reference))
        services.stop_all()
        unload_model(pipeline, settings)


def test_every_metric_of_alerts_and_dashboard_exists_with_the_labels_that_they_use(scraped: Scraped) -> None:
    shown: dict[str, set[str]] = {rule["record"]: {"pipeline"} for rule in rules() if "record" in rule}
    for sample in (sample for samples in scraped.samples.values() for sample in samples):
        shown.setdefault(sample.name, set()).update(sample.labels)
    shown |= _of_others()
    for place, text in expressions():
        together: set[str] = set()
        for selector in selectors(text):
            if selector.metric in OWN_METRICS:
                continue
            assert selector.metric in shown, f"{place}: nothing shows {selector.metric}"
            labels = shown[selector.metric] | OWN_LABELS
            assert selector.labels <= labels, f"{place}: {selector.metric} has no label {selector.labels - labels}"
            together |= labels
        if together:
            assert grouping_labels(text) <= together, f"{place}: no label {grouping_labels(text) - together}"


def _of_others() -> dict[str, set[str]]:
    """The metrics, with their labels, of processes that tests of their own run, and these have no labels there yet."""
    registry = CollectorRegistry()
    QualityMetrics(registry, "taps", ["predictions.taps"], lambda _: 0.9)
    DataQualityMetrics(registry, "taps", ["events.taps"])
    WatchMetrics(registry, "taps", 60.0, 0.0)
    ClientMetrics(registry)
    GatewayMetrics(registry)
    return {
        name: {"pipeline", *getattr(collector, "_labelnames", ())} | ({"le"} if name.endswith("_bucket") else set())
        for collector, names in registry._collector_to_names.items()
        for name in names
    }


def test_the_job_counts_events_refused_events_and_duplicates(scraped: Scraped) -> None:
    kernel = "flink_taskmanager_job_task_operator_penstock"
    mine = {"pipeline": scraped.pipeline.name}
    assert scraped.value("taskmanager", f"{kernel}_events", **mine) == EVENTS + REFUSED + DUPLICATES
    assert scraped.value("taskmanager", f"{kernel}_duplicates", **mine) == DUPLICATES
    assert scraped.value("taskmanager", f"{kernel}_records", **mine) == EVENTS
    refused = f"{kernel}_reason_dead_letters"
    assert scraped.value("taskmanager", refused, **mine, reason="penstock.Undecodable") == REFUSED
    assert scraped.value("taskmanager", refused, **mine) == REFUSED


def test_scorer_and_sinks_count_every_record(scraped: Scraped) -> None:
    mine = {"pipeline": scraped.pipeline.name}
    assert scraped.value("scorer", "penstock_scorer_scored_total", **mine, route="primary") == EVENTS
    assert scraped.value("scorer", "penstock_scorer_batch_records_sum", **mine) == EVENTS
    assert scraped.value("triton", "nv_inference_count", model=scraped.pipeline.model.name) >= EVENTS
    written = {**mine, "outcome": "written", "topic": scraped.pipeline.features_topic}
    assert scraped.value("sink-redis", "penstock_sink_records_total", **written) == EVENTS
    assert scraped.value("sink-cassandra", "penstock_sink_records_total", **written) == EVENTS


def test_predictions_of_a_candidate_in_shadow_are_counted_beside_those_that_are_served(scraped: Scraped) -> None:
    name, mine = "penstock_scorer_arm_predictions_total", {"pipeline": scraped.pipeline.name, "route": "primary"}
    assert scraped.value("scorer", name, **mine, arm="present") == EVENTS
    assert scraped.value("scorer", name, **mine, arm="shadow") == EVENTS
    assert scraped.value("rollout", "penstock_rollout_status", pipeline=scraped.pipeline.name, status="running") == 1


def test_alerts_of_injected_drift_are_counted(scraped: Scraped) -> None:
    assert scraped.value("drift", "penstock_drift_alerts_total", monitor="activity.count_1h") >= 1


def test_what_was_served_is_compared_on_a_schedule_and_nothing_is_unexplained(scraped: Scraped) -> None:
    mine = {"pipeline": scraped.pipeline.name}
    assert scraped.value("parity", "penstock_parity_runs_total", **mine, outcome="compared") == 1
    assert scraped.value("parity", "penstock_parity_values", **mine) > EVENTS
    assert scraped.value("parity", "penstock_parity_differences", **mine, cause="unexplained") == 0
    assert scraped.value("parity", "penstock_parity_not_compared", **mine) == 0


@pytest.mark.parametrize("part", PARTS)
def test_a_component_that_has_processed_everything_has_no_lag_and_is_healthy(scraped: Scraped, part: str) -> None:
    mine = {"pipeline": scraped.pipeline.name, "part": part}
    assert scraped.value(part, "penstock_consumer_lag_records", **mine) == 0
    assert scraped.value(part, "penstock_consumer_lag_seconds", **mine) == 0
    assert scraped.value(part, "penstock_service_healthy", **mine) == 1
    assert (scraped.health[part].status_code, scraped.health[part].text) == (200, "caught up\n")


def _define(folder: Path) -> Path:
    text = DEFINITION.format(suffix=secrets.token_hex(4), partitions=PARTITIONS)
    text = text.replace("import ENTITY", "import Monitors, ENTITY").replace(
        "    model=Model(", '    monitors=Monitors(inputs=("activity.count_1h",), window=100),\n    model=Model('
    )
    path = folder / "monitored.py"
    path.write_text(text, encoding="utf-8")
    return path


def _define_policy(folder: Path, pipeline: Pipeline) -> Path:
    arms = [{"name": "present", "version": 1, "role": "champion"}, {"name": "other", "version": 2}]
    path = folder / "rollout.yaml"
    policy = {"pipeline": pipeline.name, "mode": "canary", "salt": f"{pipeline.name}/other", "arms": arms}
    path.write_text(json.dumps(policy), encoding="utf-8")
    return path


def _add_drift_reference(pipeline: Pipeline, settings: Settings) -> None:
    """Training data with counts around 0; the live counts grow with every event."""
    thresholds = Thresholds(adwin_delta=0.002, page_hinkley=50.0, psi=0.5, kl=0.5, missing=0.5)
    assert pipeline.monitors is not None
    monitors = tuple(
        MonitorReference(
            name=name,
            rows=1_000,
            mean=0.5,
            std=1.0,
            edges=(0.25, 0.5, 0.75),
            shares=(0.25, 0.25, 0.25, 0.25, 0.0),
            thresholds=thresholds,
        )
        for name in pipeline.monitors.names()
    )
    reference = DriftReference(
        pipeline=pipeline.name,
        model=pipeline.model.name,
        until_ms=0,
        window=pipeline.monitors.window,
        false_alarm_every=pipeline.monitors.false_alarm_every,
        seed=0,
        monitors=monitors,
    )
    add_reference(ModelRepository(settings.model_repository), reference)


def _produce(pipeline: Pipeline, settings: Settings) -> None:
    now = time.time_ns() // 1_000_000
    events = [{"tap_id": str(n), "event_time": now, "card": f"card{n % 5}", "amount": n % 11} for n in range(EVENTS)]
    values = [json.dumps(event).encode() for event in [*events, *events[:DUPLICATES]]]
    producer = Producer(settings.kafka.access.client())
    for number, value in enumerate([*values, *[b"no event"] * REFUSED]):
        card = number % EVENTS % 5  # that of a repeated event is the same again
        producer.produce(pipeline.source.topic, value, f"card{card}".encode(), card % PARTITIONS)
    assert producer.flush(30) == 0


def _logged_address(log: Path) -> str:
    found: list[str] = []

    def look() -> bool:
        found[:] = re.findall(r"metrics at (http://\S+)/metrics", log.read_text(encoding="utf-8"))
        return bool(found)

    wait_for(look, 60, f"the address in {log.name}")
    return found[0]


def _await_done(urls: dict[str, str]) -> None:
    def total(url: str, name: str, **labels: str) -> float:
        return sum(s.value for s in _scrape(url) if s.name == name and labels.items() <= s.labels.items())

    def is_caught_up(url: str) -> bool:
        lags = [s.value for s in _scrape(url) if s.name == "penstock_consumer_lag_records"]
        # One that has no partition yet shows none.
        return bool(lags) and not any(lags)

    def done() -> bool:
        return (
            total(urls["scorer"], "penstock_scorer_scored_total") >= EVENTS
            and total(urls["sink-redis"], "penstock_sink_records_total") >= EVENTS
            and total(urls["sink-cassandra"], "penstock_sink_records_total") >= 2 * EVENTS
            and total(urls["drift"], "penstock_drift_alerts_total") >= 1
            and all(is_caught_up(urls[part]) for part in PARTS)
        )

    wait_for(done, 120, "everything to be done")


def _runs(url: str) -> float:
    """How often what was served has been compared."""
    return sum(s.value for s in _scrape(url) if s.name == "penstock_parity_runs_total" and s.value)


def _scrape(url: str) -> list[Sample]:
    """The samples of an endpoint as Prometheus stores them, after the relabelling of prometheus.yml."""
    text = httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text
    shown = set(re.findall(r"^\w+", text, re.MULTILINE))
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    # The reader adds _total to counters that lack it; Prometheus does not.
    named = ((s if s.name in shown else s._replace(name=s.name.removesuffix("_total"))) for s in samples)
    return list(_relabelled(Sample(s.name, dict(s.labels), s.value) for s in named))


def _relabelled(samples: Iterable[Sample]) -> Iterator[Sample]:
    document = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    (scrape,) = document["scrape_configs"]
    for sample in samples:
        labels, kept = dict(sample.labels), True
        for step in scrape["metric_relabel_configs"]:
            named = {**labels, "__name__": sample.name}
            source = ";".join(named.get(name, "") for name in step.get("source_labels", ()))
            match step.get("action", "replace"):
                case "replace":
                    if found := re.fullmatch(step["regex"], source):
                        labels[step["target_label"]] = found[1]
                case "labeldrop":
                    labels = {name: text for name, text in labels.items() if not re.fullmatch(step["regex"], name)}
                case "drop":
                    kept = kept and not re.fullmatch(step["regex"], source)
        if kept:
            yield Sample(sample.name, labels, sample.value)
