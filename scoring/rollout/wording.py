"""What guardrails say, for people and as JSON. Pure."""

from __future__ import annotations

import math

from pydantic import JsonValue

from scoring.rollout.evidence import Verdict
from scoring.rollout.guardrails import GuardrailReport
from scoring.rollout.measures import Measured


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
