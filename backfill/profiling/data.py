"""The profile as JSON data. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from backfill.profiling.findings import notes, summary
from backfill.profiling.measured import QUANTILES, Profile, Profiles, Slice
from scoring.gates.statistics import Interval


def as_json(profiles: Profiles, pipeline: str, source: str, seed: int) -> str:
    """One JSON object. Times are epoch ms; NaN is null; infinities are the texts "inf" and "-inf"."""
    correlation = profiles.correlation
    content = {
        "pipeline": pipeline,
        "source": source,
        "seed": seed,
        "rows": profiles.rows,
        "sampled": profiles.sampled,
        "begins": profiles.begins,
        "task": profiles.task,
        "labels": dict(profiles.classes),
        "findings": [{"level": one.level, "text": one.text, "features": one.features} for one in summary(profiles)],
        "features": [_feature(one, profiles) for one in profiles.features],
        "correlation": {
            "rows": correlation.rows,
            "names": correlation.names,
            "matrix": [[round(value, 4) for value in row] for row in correlation.matrix.tolist()],
            "same": correlation.groups,
        },
    }
    return json.dumps(_plain(content), allow_nan=False)


def _feature(one: Profile, profiles: Profiles) -> dict[str, Any]:
    worth = one.worth
    return {
        "name": one.column.name,
        "kind": one.column.kind,
        "description": one.column.description,
        "personal": one.column.personal,
        "rows": one.rows,
        "nulls": one.nulls,
        "not_numbers": one.not_numbers,
        "infinities": dict(zip(("negative", "positive"), one.infinities, strict=True)),
        "least": one.least,
        "most": one.most,
        "quantiles": {str(q): value for q, value in zip(QUANTILES, one.quantiles, strict=False)},
        "histogram": {"scale": one.scale, "bars": [list(bar) for bar in one.bars]},
        "constant": one.is_constant,
        "commonest": one.commonest,
        "distinct": one.distinct,
        "top": one.top,
        "slices": [_slice(part) for part in one.slices],
        "drifted": one.drifted,
        "among_first": one.among,
        "worth": worth
        and {
            "measure": worth.measure,
            **_interval(worth.value),
            "information": _interval(worth.information.share),
            "chance": worth.information.chance,
            "labelled": worth.labelled,
            "too_good": worth.too_good,
        },
        "notes": [{"level": note.level, "word": note.word, "text": note.text} for note in notes(one, profiles)],
    }


def _slice(one: Slice) -> dict[str, Any]:
    return {
        "rows": one.rows,
        "null_share": one.null_share,
        "median": one.median,
        "p90": one.p90,
        "psi": one.psi,
        "limit": one.limit,
        "change": one.change.value,
        "worth": one.worth and _interval(one.worth),
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {name: round(value, 6) for name, value in interval._asdict().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
