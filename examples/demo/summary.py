"""Prints the demo's summary on the terminal: the most important numbers and the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.rollout_record import Rollouts, Trial
from verify.loop_quality import Stage
from verify.report import PipelineReport, Report


def print_summary(report: Report, rollouts: Mapping[str, Rollouts], console: Console, paths: Sequence[str]) -> None:
    """Print the summary of a verified run.

    Args:
        report: What the verifier found.
        rollouts: Those of each pipeline that had any.
        console: Where to print.
        paths: The files of the full report.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 4, 0, 0))
    table.add_column("")
    for name in report.pipelines:
        table.add_column(name, justify="right")
    columns = [_rows(one) for one in report.pipelines.values()]
    if rollouts:
        for name, column in zip(report.pipelines, columns, strict=True):
            column.extend(_rollout_rows(rollouts.get(name)))
    for row, (label, _) in enumerate(columns[0]):
        values = [column[row][1] for column in columns]
        table.add_row(Text(label, style="bold" if not any(v.plain for v in values) else ""), *values)
    verdict = (
        Text("✓ passed: everything served matches the raw events", style="bold green")
        if report.held
        else Text("✗ not everything passed", style="bold red")
    )
    parts: list[RenderableType] = [table, Text()]
    parts.append(verdict)
    for name, one in report.pipelines.items():
        parts += [Text(f"  {name}: {text}", style="red") for text in (*one.failures(), *one.unchecked())]
        parts += [Text(f"    {example}", style="dim") for example in one.examples[:3]]
    console.print(Panel(Group(*parts), title="penstock demo", subtitle=" · ".join(paths), padding=(1, 3), expand=False))


def _rows(one: PipelineReport) -> list[tuple[str, Text]]:
    latency, model = one.latency_ms, one.model
    return [
        ("events", Text()),
        ("  valid", _count(one.events_valid)),
        ("  refused (dead letters)", _count(one.events_invalid)),
        ("  duplicates dropped", _count(one.events_duplicate)),
        ("features", Text()),
        ("  values checked", _share(one.features_checked, one.features_total)),
        ("  wrong · unverifiable", _zero(one.feature_mismatches + one.feature_gaps, one.features_unverifiable)),
        ("predictions", Text()),
        ("  published", _count(one.predictions)),
        (
            "  duplicates · gaps · wrong",
            _zero(one.prediction_duplicates, one.prediction_gaps, one.prediction_mismatches),
        ),
        ("  by the fallback", _count(one.fallback_predictions)),
        ("stores", Text()),
        ("  Redis · wrong", _checked(one.redis_checked, one.redis_mismatches)),
        ("  Cassandra · wrong", _checked(one.cassandra_rows, one.cassandra_mismatches)),
        ("backfill", Text()),
        ("  rows · wrong", _checked(one.backfill_rows, one.backfill_mismatches)),
        ("drift", Text()),
        ("  alerts · lost, extra, wrong", _checked(one.drift_alerts, _drift_errors(one))),
        ("  false incidents before drift", _false_incidents(one)),
        ("incidents", Text()),
        ("  causes", _causes(one)),
        ("  AUC before · in · after", _areas(one)),
        ("  alert → recovery", Text("nothing trained" if one.loop_seconds is None else f"{one.loop_seconds:.0f} s")),
        ("raw → prediction", Text()),
        ("  burst", Text(f"{one.events_per_s:,.0f} events/s" if one.events_per_s else "n/a")),
        (
            "  live p50 · p95 · p99",
            Text(f"{latency.p50:.0f} · {latency.p95:.0f} · {latency.p99:.0f} ms" if latency else "n/a"),
        ),
        ("model", Text()),
        ("  AUC on later events", Text(f"{model.auc:.4f}" if model else "n/a")),
        (
            "  AUC without windows",
            Text(f"{model.auc_without_windows:.4f}" if model and model.auc_without_windows is not None else "n/a"),
        ),
    ]


def _rollout_rows(rollouts: Rollouts | None) -> list[tuple[str, Text]]:
    """How the rollouts ended: the first candidate that was promoted, and the first that was rolled back."""
    trials = {} if rollouts is None else {trial.outcome: trial for trial in reversed(rollouts.trials)}
    promoted, rolled_back = trials.get("promoted"), trials.get("rolled back")
    return [
        ("rollouts", Text()),
        ("  promoted after", _took(promoted)),
        ("  rolled back after", _took(rolled_back)),
        ("  users touched by it", Text(f"{rolled_back.entities:,}" if rolled_back else "none tried")),
    ]


def _took(trial: Trial | None) -> Text:
    return Text(f"{trial.events:,} events · {trial.to_s - trial.from_s:.1f} s" if trial else "none tried")


def _drift_errors(one: PipelineReport) -> int:
    lost_or_extra = one.drift_alerts_missing + one.drift_alerts_extra + one.drift_alert_duplicates
    return lost_or_extra + one.drift_unfollowed + one.drift_mismatches


def _false_incidents(one: PipelineReport) -> Text:
    return _count(one.false_incidents_before_drift) if one.drift_from_ms is not None else Text("none injected")


def _causes(one: PipelineReport) -> Text:
    """The causes that ask for something; how many incidents have each, if several do."""
    found = {cause: count for cause, count in one.incident_causes.items() if cause not in ("none", "unclear")}
    named = [f"{count} {cause}" if count > 1 else cause for cause, count in sorted(found.items())]
    return Text(" · ".join(named) or "none")


def _areas(one: PipelineReport) -> Text:
    areas = one.quality
    if areas is None:
        return Text("n/a")
    stages: tuple[Stage, ...] = ("before", "in", "after")
    return Text(" · ".join(f"{areas[stage].auc:.3f}" if stage in areas else "n/a" for stage in stages))


def _share(checked: int, total: int) -> Text:
    return Text(f"all {total:,}") if checked == total else Text(f"{checked:,} of {total:,}", style="red")


def _count(number: int) -> Text:
    return Text(f"{number:,}")


def _zero(*numbers: int) -> Text:
    return Text(" · ".join(f"{n:,}" for n in numbers), style="red" if any(numbers) else "green")


def _checked(checked: int, wrong: int) -> Text:
    return Text.assemble(f"{checked:,} · ", (f"{wrong:,}", "red" if wrong else "green"))
