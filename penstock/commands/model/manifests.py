"""Manifests of versions in words."""

from __future__ import annotations

import click

from penstock.counts import counted
from penstock.time import readable
from scoring.gates.card import offsets_in_words, recipe_in_words
from scoring.trained_model import ImportManifest, ModelManifest, training_set_of
from streams.drift.drift_reference import DriftReference

_MOST_USEFUL = 5
# What was read, and what is in the set: all other counts are of what was left out.
_READ = ("features_read", "labels_read", "events_absent")


def print_line(label: str, text: str) -> None:
    """Print a text behind its label."""
    click.echo(click.style(f"{label:<13} ", dim=True) + text)


def metrics(manifest: ModelManifest | ImportManifest) -> tuple[str, str]:
    """The columns of `list` about a version's data and its metrics."""
    if isinstance(manifest, ImportManifest):
        return "imported", origin_of(manifest)
    validation = manifest.validation
    data = f"{manifest.rows:,}" + ("" if manifest.task == "regression" else f", {manifest.positives:,} positive")
    without = f", {_number(validation.quality_without_windows)} without windows"
    return data, f"{validation.measure} {_number(validation.quality)}{without}"


def about(manifest: ModelManifest | ImportManifest) -> list[tuple[str, str]]:
    """All of a manifest, as labels and texts."""
    if isinstance(manifest, ImportManifest):
        lines = [("imported", origin_of(manifest)), ("check rows", f"SHA-256 {manifest.check_sha256}")]
    else:
        lines = [*training_of(manifest), ("data", manifest.data_hash)]
        lines += [(f"from {topic}", offsets_in_words(ranges)) for topic, ranges in manifest.offsets.items()]
    lines.append(("inputs", ", ".join(manifest.inputs)))
    lines += [(f"view {view}", identity) for view, identity in manifest.views.items()]
    if (made := manifest.provenance) is not None:
        author = "" if made.author is None else f" by {made.author}"
        lines.append(("made", f"{readable(made.made_ms, 'seconds', zone=' UTC')}{author}, Penstock {made.penstock}"))
        lines.append(("environment", f"SHA-256 {made.environment}"))
        if made.incident is not None:
            lines.append(("incident", made.incident))
    if manifest.no_fil is not None:
        lines.append(("FIL", f"cannot run it: {manifest.no_fil}"))
    lines += recipe_in_words(manifest)
    return [*lines, ("libraries", ", ".join(f"{name} {of}" for name, of in manifest.libraries.items()))]


def calibration_of(reference: DriftReference) -> str:
    """How many monitors a version has, and what they are calibrated to."""
    monitors, every = counted(len(reference.monitors), "monitor"), f"{reference.false_alarm_every:,}"
    refused = "".join(f"; not watched: {refusal}" for refusal in reference.refusals())
    return f"{monitors}, calibrated to one false incident in {every} events{refused}"


def origin_of(manifest: ImportManifest) -> str:
    """Which file or model of Triton an imported version is of, and how it was checked."""
    by = f" by {manifest.producer}" if manifest.producer else ""
    more = "".join(f", {name} with {encoding}" for name, encoding in manifest.encodings.items())
    more += f", {' and '.join(manifest.kept)} kept" if manifest.kept else ""
    hashed = f"SHA-256 {manifest.sha256[:16]}" if manifest.sha256 else "its files could not be read"
    half = " in FP16" if manifest.fp16 else ""
    return (
        f"{manifest.file}{by} ({hashed}), output {manifest.output} column {manifest.column}{more}, "
        f"{counted(manifest.check_rows, 'row')} scored as expected{half}, within {manifest.difference:.2g}"
    )


def training_of(manifest: ModelManifest) -> list[tuple[str, str]]:
    """How a version was trained, as labels and texts."""
    validation, read = manifest.validation, manifest.read
    unused = [f"{number:,} {name.replace('_', ' ')}" for name, number in read.items() if number and name not in _READ]
    positive = "" if manifest.task == "regression" else f", {validation.positives:,} positive"
    quality = click.style(_number(validation.quality), fg="green", bold=True)
    error = "" if validation.mae is None else f", mean absolute error {validation.mae:.4g}"
    return [
        (
            "trained on",
            f"{training_set_of(manifest)}, known until {_time(manifest.until_ms)}",
        ),
        ("left out", ", ".join(unused) or "nothing"),
        ("validated on", f"the latest {validation.rows:,} events{positive}"),
        (
            validation.measure,
            f"{quality}, without windowed features {_number(validation.quality_without_windows)}{error}",
        ),
        ("most useful", most_useful(manifest)),
        ("made from", f"data {manifest.data_hash[:16]}, seed {manifest.seed}, {_by(manifest)}"),
    ]


def _by(manifest: ModelManifest) -> str:
    return f"{manifest.iterations} trees" if manifest.trainer is None else f"by {manifest.trainer}"


def most_useful(manifest: ModelManifest) -> str:
    """The inputs with the greatest permutation importance."""
    return ", ".join(f"{one.input} ({one.loss:.4f})" for one in manifest.importance[:_MOST_USEFUL]) or "not measured"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"


def _time(ms: int | None) -> str:
    return "the topics' end" if ms is None else readable(ms, "seconds", zone=" UTC")
