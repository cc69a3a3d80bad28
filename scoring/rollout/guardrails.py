"""What the guardrails say of the versions of a rollout. Pure."""

from __future__ import annotations

from typing import NamedTuple

from scoring.rollout.evidence import Verdict
from scoring.rollout.facts import Facts
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.measures import Measured, Question, measure
from scoring.rollout.seen import Seen, Subject, subjects
from streams.definitions.rollout import Guardrail, Measure


class GuardrailReport(NamedTuple):
    """What one guardrail says of one version.

    Attributes:
        guardrail: Its measure, such as ``errors``.
        version: The version of the model.
        is_candidate: Whether the version is tried; otherwise it only scores in shadow, and changes nothing.
        group: For fairness: ``input=value``; else None.
        verdict: ``WORSE``: it fails. ``EQUIVALENT``: it passes. ``CONTINUE``: neither is sure.
        awaited: Whether the step waits until it passes.
        events: How many moments or entities it rests on.
        measured: The quantities.
    """

    guardrail: Measure
    version: int
    is_candidate: bool
    group: str | None
    verdict: Verdict
    awaited: bool
    events: int
    measured: tuple[Measured, ...]


def judge_guardrails(state: JudgeState, facts: Facts) -> list[GuardrailReport]:
    """What each guardrail says of each version that it can judge at present."""
    seen, found = Seen(state, facts), subjects(state)
    candidates = max(sum(subject.is_candidate for subject in found), 1)
    reports = []
    for subject in found:
        can_judge = _measures(state, subject, facts)
        for guardrail in facts.rollout.judged.values():
            if guardrail.measure not in can_judge:
                continue
            # Chance must not have more occasions with more candidates.
            question = Question(seen, subject, guardrail, facts.rollout.alpha / candidates)
            awaited = subject.is_candidate and _is_awaited(guardrail, state, subject)
            for events, measured, group in measure(question):
                if measured:
                    said = _of_all(measured)
                    of = (guardrail.measure, subject.version, subject.is_candidate, group)
                    reports.append(GuardrailReport(*of, said, awaited, events, measured))
    return reports


def _measures(state: JudgeState, subject: Subject, facts: Facts) -> tuple[Measure, ...]:
    """By what a version is judged: in shadow by its scores, where it serves by how it works.

    In an experiment (modes ``ab`` and ``bandit``) versions may decide differently, and in ``blue_green`` there is no
    champion to compare with. A call in shadow shares the scorer with the champion's and with those of other versions in
    shadow. So it is only judged if somebody has declared which time is too long.
    """
    if subject.in_shadow:
        latency = facts.rollout.judged.get("latency")
        of_calls: tuple[Measure, ...] = () if latency is None or latency.absolute is None else ("latency",)
        by_labels: tuple[Measure, ...] = () if facts.task is None else ("quality",)
        of_probabilities: tuple[Measure, ...] = () if facts.task == "regression" else ("calibration",)
        return ("errors", *of_calls, "decision_rate", *by_labels, *of_probabilities, "fairness", "scores")
    if state.published.policy.mode == "canary":
        return ("errors", "latency", "decision_rate", "fairness", "scores", "split")
    return ("errors", "latency", "scores", "split")


def _is_awaited(guardrail: Guardrail, state: JudgeState, subject: Subject) -> bool:
    """Whether a step waits for it.

    What a first step in shadow has shown of decisions, with all events, is not awaited again with a share of them. How
    fast a version surely is shows where it serves.
    """
    if subject.in_shadow and guardrail.measure == "latency":
        return False
    steps = state.published.policy.steps
    was_in_shadow = bool(steps) and not steps[0].weight and not subject.in_shadow
    return guardrail.awaited and not (was_in_shadow and guardrail.measure in ("decision_rate", "fairness", "scores"))


def _of_all(measured: tuple[Measured, ...]) -> Verdict:
    """Surely outside of all bounds, and on the same side, fails; surely within one passes."""
    verdicts = {each.verdict for each in measured}
    if Verdict.EQUIVALENT in verdicts:
        return Verdict.EQUIVALENT
    return Verdict.WORSE if verdicts in ({Verdict.WORSE}, {Verdict.BETTER}) else Verdict.CONTINUE
