"""What guardrails say, for people and as JSON, however many there are. Pure."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from pydantic import JsonValue

from scoring.rollout.evidence import WORST_FIRST, Verdict
from scoring.rollout.guardrails import GuardrailReport
from scoring.rollout.measures import Measured

# Of a change's record, which Kafka takes up to 1 MB of: 20 versions in shadow, each judged in 100 groups, say 0.6 MB.
_MOST_BYTES = 48_000
_MOST_SENTENCES = 10


def sentences(reports: Sequence[GuardrailReport]) -> str:
    """What guardrails say, one after the other; of more than ten, the ten that matter most."""
    told = [reports[place] for place in sorted(_by_weight(reports)[:_MOST_SENTENCES])]
    more = len(reports) - len(told)
    return "; ".join([*map(sentence, told), *([f"and {more} more"] if more else [])])


def sentence(report: GuardrailReport) -> str:
    """What a guardrail says, with its numbers.

    For example ``errors of version 4: share of moments without a score in time is surely above 0.12, allowed up to
    0.01 (812 observed)``.
    """
    told = [each for each in report.measured if each.verdict is report.verdict] or [*report.measured]
    said = " and ".join(map(_said, told))
    where = f" for {report.group}" if report.group else ""
    return f"{report.guardrail} of version {report.version}{where}: {said} ({report.events:,} observed)"


def evidence_of(report: GuardrailReport) -> dict[str, JsonValue]:
    """The same as JSON; a bound that is not known is null."""
    return {
        "guardrail": report.guardrail,
        "version": report.version,
        "is_candidate": report.is_candidate,
        "group": report.group,
        "verdict": report.verdict.value,
        "awaited": report.awaited,
        "events": report.events,
        "measured": [
            {
                "what": each.what,
                "low": _known(each.interval.low),
                "high": _known(each.interval.high),
                "allowed_low": each.allowed.low,
                "allowed_high": each.allowed.high,
                "verdict": each.verdict.value,
            }
            for each in report.measured
        ],
    }


def evidence_of_all(reports: Sequence[GuardrailReport]) -> dict[str, JsonValue]:
    """What guardrails say as JSON, of 48 kB at most.

    It has ``guardrails``, each as of :func:`evidence_of`, in their order. If they are too many, those that matter least
    are only counted, in ``left_out``: by guardrail and verdict. Of a candidate, what each guardrail says worst stays.
    """
    whole = [evidence_of(report) for report in reports]
    sizes, kept, left = [len(json.dumps(each)) for each in whole], set[int](), _MOST_BYTES
    for place in _by_weight(reports):
        left -= sizes[place]
        if left < 0:
            break
        kept.add(place)
    found: dict[str, JsonValue] = {"guardrails": [each for place, each in enumerate(whole) if place in kept]}
    if len(kept) < len(whole):
        counts = defaultdict[str, Counter[str]](Counter)
        for report in (report for place, report in enumerate(reports) if place not in kept):
            counts[report.guardrail][report.verdict.value] += 1
        found["left_out"] = {guardrail: dict(verdicts) for guardrail, verdicts in counts.items()}
    return found


def _by_weight(reports: Sequence[GuardrailReport]) -> list[int]:
    """The places of reports: of candidates first, of each version and guardrail the worst, then others, worst first."""
    ranks = [WORST_FIRST.index(report.verdict) for report in reports]
    worst: dict[tuple[str, int], int] = {}
    for place in sorted(range(len(reports)), key=ranks.__getitem__):
        worst.setdefault((reports[place].guardrail, reports[place].version), place)
    is_worst = {*worst.values()}

    def weight(place: int) -> tuple[bool, bool, int, int]:
        return not reports[place].is_candidate, place not in is_worst, ranks[place], place

    return sorted(range(len(reports)), key=weight)


def _said(measured: Measured) -> str:
    what, (low, high), allowed, said = measured
    within = f"allowed {allowed.low:g} to {allowed.high:g}"
    if allowed.low == allowed.high:
        within = f"declared {allowed.low:g}"
    elif allowed.low == 0:
        within = f"allowed up to {allowed.high:g}"
    if said is Verdict.CONTINUE and not math.isfinite(high):
        return f"{what} is not known yet, {within}"
    return f"{what} is between {low:.4g} and {high:.4g}, {within}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
