"""Guardrails tell what they found in words, and as JSON without infinities."""

from __future__ import annotations

import json

import numpy as np

from scoring.rollout.evidence import Interval, Verdict
from scoring.rollout.guardrails import GuardrailReport
from scoring.rollout.measures import Measured
from scoring.rollout.wording import evidence_of, evidence_of_all, sentence, sentences

KNOWN = Measured("p99", Interval(2.0891, 5.25), Interval(0, 2), Verdict.WORSE)
UNKNOWN = Measured("ratio", Interval(0.0, np.inf), Interval(0.5, 2), Verdict.CONTINUE)
DECLARED = Measured("share", Interval(0.1, 0.2), Interval(0.05, 0.05), Verdict.WORSE)


def report(*measured: Measured, verdict: Verdict = Verdict.WORSE, group: str | None = None) -> GuardrailReport:
    return GuardrailReport("latency", 4, True, group, verdict, True, 12_345, measured)


def test_a_failure_has_its_numbers() -> None:
    assert (
        sentence(report(KNOWN))
        == "latency of version 4: p99 is between 2.089 and 5.25, allowed up to 2 (12,345 observed)"
    )


def test_the_group_is_named() -> None:
    assert sentence(report(KNOWN, group="country=3")).startswith("latency of version 4 for country=3: ")


def test_of_several_quantities_those_are_told_that_decide() -> None:
    assert "ratio" not in sentence(report(KNOWN, UNKNOWN))
    assert "p99" not in sentence(report(KNOWN, UNKNOWN, verdict=Verdict.CONTINUE))


def test_what_is_not_known_yet_is_said_to_be_so() -> None:
    text = sentence(report(UNKNOWN, verdict=Verdict.CONTINUE))
    assert text == "latency of version 4: ratio is not known yet, allowed 0.5 to 2 (12,345 observed)"


def test_a_declared_share_is_named_as_one() -> None:
    assert "share is between 0.1 and 0.2, declared 0.05" in sentence(report(DECLARED))


def test_the_evidence_is_json() -> None:
    found = json.loads(json.dumps(evidence_of(report(KNOWN, UNKNOWN)), allow_nan=False))
    assert found["guardrail"] == "latency"
    assert found["verdict"] == "worse"
    assert [each["high"] for each in found["measured"]] == [5.25, None]


def many(candidates: int, beside: int, groups: int = 100) -> list[GuardrailReport]:
    """A guardrail's reports of many versions in many groups; one of each version fails, and it is not the first."""
    return [
        GuardrailReport(
            "fairness",
            version,
            version <= candidates,
            f"country={group}",
            Verdict.WORSE if group == 50 else Verdict.EQUIVALENT,
            False,
            9,
            (KNOWN, UNKNOWN),
        )
        for version in range(1, candidates + beside + 1)
        for group in range(groups)
    ]


def test_evidence_of_many_versions_in_many_groups_is_bounded_and_has_the_worst_of_each_candidate() -> None:
    reports = many(candidates=19, beside=20)
    found = evidence_of_all(reports)
    assert len(json.dumps(found)) < 50_000
    kept = [(one["version"], one["group"], one["is_candidate"]) for one in found["guardrails"]]  # type: ignore[union-attr,index,call-overload]
    assert {(version, "country=50", True) for version in range(1, 20)} <= {*kept}
    assert all(is_candidate for *_, is_candidate in kept)
    assert kept == sorted(kept, key=lambda one: (one[0], int(one[1].partition("=")[2])))
    assert found["left_out"] == {"fairness": {"worse": 20, "equivalent": 39 * 99 - (len(kept) - 19)}}


def test_evidence_that_is_small_is_whole() -> None:
    reports = many(candidates=1, beside=1, groups=5)
    assert evidence_of_all(reports) == {"guardrails": [evidence_of(one) for one in reports]}


def test_of_many_guardrails_the_worst_are_told_and_the_others_counted() -> None:
    reports = many(candidates=2, beside=1)
    text = sentences(reports)
    assert text.count("fairness of version") == 10
    assert text.index("version 1 for country=50") < text.index("version 2 for country=50")
    assert text.endswith("; and 290 more")
    assert sentences(reports[:1]) == sentence(reports[0])
