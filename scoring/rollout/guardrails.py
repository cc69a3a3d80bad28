"""What each guardrail says of each version, from what the judge has seen. Pure.

docs/concepts/rollout-guardrails.md explains each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.rollout.comparisons import LEAST, Numbers, counts_as, losses, mean, ratio_of_means
from scoring.rollout.evidence import Interval, Latencies, Rate, Split, Verdict, latency_ratio, rate_ratio, verdict
from scoring.rollout.facts import Facts
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.sample import Mask
from scoring.rollout.seen import CHAMPION, Seen, Subject, subjects
from streams.definitions.rollout import Guardrail, Measure

_P99 = 0.99
# One disturbance may fall into two moments.
_LEAST_FAILURES = 3
# Of each column of groups, its most frequent values are judged.
_MOST_GROUPS = 20
_EVERYTHING = Interval(0.0, np.inf)


class Measured(NamedTuple):
    """What was measured of one quantity.

    Attributes:
        what: The quantity, in words, such as ``p99 of a call / the champion's``.
        interval: In which it surely is.
        allowed: In which it must be.
        verdict: What follows.
    """

    what: str
    interval: Interval
    allowed: Interval
    verdict: Verdict


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


class _Found(NamedTuple):
    """The quantities of a guardrail: each with the bounds that it is held against."""

    events: int
    measured: list[Measured]
    group: str | None = None


class _Question(NamedTuple):
    """What is asked of the state: one guardrail, of one version."""

    seen: Seen
    subject: Subject
    guardrail: Guardrail
    alpha: float

    def held(self, kind: str, what: str, interval: Interval) -> Iterator[Measured]:
        """The quantity, if the guardrail has bounds of this kind."""
        bounds = getattr(self.guardrail, kind)
        if bounds is not None:
            allowed = Interval(*bounds)
            yield Measured(what, interval, allowed, verdict(interval, allowed, events=0, most=1))


def judge_guardrails(state: JudgeState, facts: Facts) -> list[GuardrailReport]:
    """What each guardrail says of each version that can be judged by it at present."""
    seen, found = Seen(state, facts), subjects(state)
    candidates = max(sum(subject.is_candidate for subject in found), 1)
    reports = []
    for subject in found:
        for measure, guardrail in facts.rollout.judged.items():
            if measure not in _measures(state, subject, facts):
                continue
            alpha = facts.rollout.alpha / (candidates if subject.is_candidate else 1)
            question = _Question(seen, subject, guardrail, alpha)
            for events, measured, group in _JUDGES[measure](question):
                if measured:
                    awaited = subject.is_candidate and _is_awaited(guardrail, state, subject)
                    reports.append(
                        GuardrailReport(
                            measure,
                            subject.version,
                            subject.is_candidate,
                            group,
                            _of_all(measured),
                            awaited,
                            events,
                            tuple(measured),
                        )
                    )
    return reports


def _measures(state: JudgeState, subject: Subject, facts: Facts) -> tuple[Measure, ...]:
    """By what a version can be judged: in shadow by its scores, where it serves by how it works."""
    if subject.in_shadow:
        by_labels: tuple[Measure, ...] = () if facts.task is None else ("quality",)
        by_mean: tuple[Measure, ...] = () if facts.task == "regression" else ("calibration",)
        return ("errors", "decision_rate", *by_labels, *by_mean, "fairness", "scores")
    if state.published.policy.mode == "canary":
        return ("errors", "latency", "decision_rate", "fairness", "scores", "split")
    return ("errors", "latency", "scores", "split")


def _is_awaited(guardrail: Guardrail, state: JudgeState, subject: Subject) -> bool:
    """Whether a step waits for it: for the rate of decisions only in shadow, if there is such a step.

    There, all events tell it. In a canary of 1 % of the entities, the same takes a hundred times as long.
    """
    was_in_shadow = state.published.policy.steps and state.published.policy.steps[0].weight == 0
    if guardrail.measure in ("decision_rate", "fairness") and not subject.in_shadow and was_in_shadow:
        return False
    return guardrail.awaited


def _of_all(measured: list[Measured]) -> Verdict:
    """Surely outside of all bounds, and on the same side, fails; surely within one passes."""
    verdicts = {each.verdict for each in measured}
    if Verdict.EQUIVALENT in verdicts:
        return Verdict.EQUIVALENT
    if verdicts in ({Verdict.WORSE}, {Verdict.BETTER}):
        return Verdict.WORSE
    return Verdict.CONTINUE


def _spent(alpha: float, halvings: int) -> float:
    """The part of alpha for the sample as it is now.

    A sample whose slice was halved is another one, with a sequence of its own: together they have alpha.
    """
    return 0.9 * alpha if not halvings else 0.1 * alpha * 2.0**-halvings


def _errors(question: _Question) -> Iterator[_Found]:
    seen, subject = question.seen, question.subject
    alpha = _spent(question.alpha, sum(seen.state.calls.halvings))
    if subject.in_shadow:
        _, places = seen.one_for_each_moment(seen.is_complete)
        counted = places[~seen.is_failed[places]]  # else the service fails, not the version
        failed = np.isnan(seen.shadow_ms(subject.place)[counted])
    else:
        moments, places = seen.one_for_each_moment(seen.is_call & (seen.call_arm == subject.place))
        others, other_places = seen.one_for_each_moment(seen.is_call & (seen.call_arm == CHAMPION))
        counted = places[~np.isin(moments, others[seen.is_failed[other_places]])]
        failed = seen.is_failed[counted]
    rate = Rate(hits=int(failed.sum()), of=len(counted))
    if question.guardrail.absolute is None:
        return
    allowed = Interval(*question.guardrail.absolute)
    interval = rate.interval(alpha)
    said = Verdict.CONTINUE
    if interval.high <= allowed.high:
        said = Verdict.EQUIVALENT
    elif rate.hits >= _LEAST_FAILURES and rate.log_e_above(allowed.high) >= -np.log(alpha):
        said = Verdict.WORSE
    what = "share of moments without a score in time"
    yield _Found(rate.of, [Measured(what, interval, allowed, said)])


def _latency(question: _Question) -> Iterator[_Found]:
    seen, arm = question.seen, question.subject.place
    alpha = _spent(question.alpha, sum(seen.state.calls.halvings))
    own, champions = (
        Latencies.of(seen.infer_ms[seen.one_for_each_moment(has_time & (seen.call_arm == one))[1]])
        for has_time in (~np.isnan(seen.infer_ms),)
        for one in (arm, CHAMPION)
    )
    measured = [*question.held("absolute", "p99 of a call in ms", own.interval(_P99, alpha))]
    if _champion_serves(question):
        ratio = latency_ratio(own, champions, _P99, alpha)
        measured += question.held("relative", "p99 of a call / the champion's", ratio)
    yield _Found(sum(own.counts), measured)


def _decision_rate(question: _Question) -> Iterator[_Found]:
    alpha = _spent(question.alpha, sum(question.seen.state.entities.halvings))
    yield _rates(question, alpha, np.ones(len(question.seen.arm), np.bool_), "positive decisions")


def _fairness(question: _Question) -> Iterator[_Found]:
    """The rate of decisions within each of the most frequent groups."""
    seen = question.seen
    names = seen.facts.groups
    alpha = _spent(question.alpha, sum(seen.state.entities.halvings)) / _MOST_GROUPS / max(len(names), 1)
    for place, name in enumerate(names):
        column = seen.groups[:, place]
        values, counts = np.unique(column[~np.isnan(seen.arm)], return_counts=True)
        for value in values[np.lexsort((values, -counts))][:_MOST_GROUPS].tolist():
            is_null = np.isnan(value)
            inside = np.isnan(column) if is_null else column == value
            label = f"{name}={'null' if is_null else format(value, 'g')}"
            yield _rates(question, alpha, inside, f"positive decisions, {label}")._replace(group=label)


def _rates(question: _Question, alpha: float, inside: Mask, what: str) -> _Found:
    """The shares of positive decisions among some of the entities. No entity counts for both versions."""
    seen, subject, threshold = question.seen, question.subject, question.seen.facts.threshold
    if subject.in_shadow:
        scores = seen.shadow_score(subject.place)
        pairs = inside & seen.is_pair(subject.place)
        is_own = (seen.state.entities.rows["unit"] & np.uint64(1)) == 1
        own, other = pairs & is_own, pairs & ~is_own
    else:
        own, other = inside & seen.has_score(subject.place), inside & seen.has_score(CHAMPION)
        scores = seen.score
    rate = Rate(hits=int((scores[own] >= threshold).sum()), of=int(own.sum()))
    champions = Rate(hits=int((seen.score[other] >= threshold).sum()), of=int(other.sum()))
    measured = [*question.held("absolute", f"share of {what}", rate.interval(alpha))]
    if _champion_serves(question) and question.guardrail.relative is not None:
        measured += question.held("relative", f"share of {what} / the champion's", rate_ratio(rate, champions, alpha))
    return _Found(rate.of + champions.of, measured)


def _quality(question: _Question) -> Iterator[_Found]:
    seen, (_, own, champions, labels) = question.seen, _labelled(question)
    alpha = _spent(question.alpha, sum(seen.state.entities.halvings))
    is_regression = seen.facts.task == "regression"
    loss = "brier" if is_regression else seen.facts.rollout.loss
    own_losses, champions_losses = losses(own, labels, loss), losses(champions, labels, loss)
    enough = is_regression or _has_both_labels(labels)
    interval = mean(own_losses, alpha) if enough else _EVERYTHING
    ratio = ratio_of_means(own_losses, champions_losses, alpha) if enough else _EVERYTHING
    measured = [*question.held("absolute", "mean loss", interval)]
    measured += question.held("relative", "mean loss / the champion's", ratio)
    yield _Found(len(labels), measured)


def _calibration(question: _Question) -> Iterator[_Found]:
    seen, slot = question.seen, question.subject.place
    alpha = _spent(question.alpha, sum(seen.state.entities.halvings))
    measured: list[Measured] = []
    if seen.facts.task is not None:
        _, own, _, labels = _labelled(question)
        truth = ratio_of_means(own, labels, alpha) if _has_both_labels(labels) else _EVERYTHING
        measured += question.held("absolute", "mean score / share of positive labels", truth)
    pairs = seen.is_pair(slot)
    own, champions = seen.shadow_score(slot)[pairs], seen.score[pairs]
    enough = min(counts_as(own), counts_as(champions)) >= LEAST
    ratio = ratio_of_means(own, champions, alpha) if enough else _EVERYTHING
    measured += question.held("relative", "mean score / the champion's", ratio)
    yield _Found(len(own), measured)


def _labelled(question: _Question) -> tuple[Mask, Numbers, Numbers, Numbers]:
    """Pairs of scores whose label is known: which entities, the version's scores, the champion's, and the labels."""
    seen, slot = question.seen, question.subject.place
    chosen = seen.is_pair(slot) & seen.is_judged_by_label
    return chosen, seen.shadow_score(slot)[chosen], seen.score[chosen], seen.label[chosen]


def _has_both_labels(labels: Numbers) -> bool:
    positives = int((labels > 0).sum())
    return min(positives, len(labels) - positives) >= LEAST


def _scores(question: _Question) -> Iterator[_Found]:
    """How often two entities, one after the other, have exactly the same score."""
    seen, subject = question.seen, question.subject
    alpha = _spent(question.alpha, sum(seen.state.entities.halvings))
    if subject.in_shadow:
        own = other = seen.is_pair(subject.place)
        scores = seen.shadow_score(subject.place)
    else:
        own, other, scores = seen.has_score(subject.place), seen.has_score(CHAMPION), seen.score
    rate, champions = (_same(column[seen.in_order(chosen)]) for column, chosen in ((scores, own), (seen.score, other)))
    measured = [*question.held("absolute", "share of equal scores", rate.interval(alpha))]
    if _champion_serves(question):
        ratio = rate_ratio(rate, champions, alpha)
        measured += question.held("relative", "share of equal scores / the champion's", ratio)
    yield _Found(2 * rate.of, measured)


def _same(scores: Numbers) -> Rate:
    """Of how many pairs both scores are the same; each score is in one pair."""
    half = len(scores) // 2
    return Rate(hits=int((scores[: 2 * half : 2] == scores[1 : 2 * half : 2]).sum()), of=half)


def _split(question: _Question) -> Iterator[_Found]:
    seen, weights = question.seen, question.seen.state.published.weights
    places = [place for place, weight in enumerate(weights.values()) if weight]
    if len(places) < 2:
        return
    halvings = max(seen.state.entities.halvings)
    alpha = _spent(question.alpha, sum(seen.state.entities.halvings))
    arms = _arms_of_entities(seen, halvings)
    counts = tuple(int((arms == place).sum()) for place in places)
    shares = tuple(weight for weight in weights.values() if weight)
    failed = sum(counts) < len(arms) or Split(counts=counts).log_e(shares) >= -np.log(alpha)
    place = places.index(question.subject.place)
    share, declared = Rate(hits=counts[place], of=len(arms)), shares[place]
    said = Verdict.WORSE if failed else Verdict.CONTINUE
    what = "share of entities"
    yield _Found(len(arms), [Measured(what, share.interval(alpha), Interval(declared, declared), said)])


def _arms_of_entities(seen: Seen, halvings: int) -> NDArray[np.float64]:
    """The arm of each entity at its first event, of those in the smallest slice, which is the same for all arms."""
    rows = seen.state.entities.rows
    lowest = (np.uint64(1) << np.uint64(halvings)) - np.uint64(1)
    places = seen.in_order(seen.is_present & ~np.isnan(seen.arm) & ((rows["slice"] & lowest) == 0))
    _, first = np.unique(rows["slice"][places], return_index=True)
    return seen.arm[places[first]]


def _champion_serves(question: _Question) -> bool:
    """Whether the champion scores entities to compare with."""
    published = question.seen.state.published
    return published.weights[published.policy.champion.name] > 0


_JUDGES: Mapping[Measure, Callable[[_Question], Iterator[_Found]]] = {
    "errors": _errors,
    "latency": _latency,
    "decision_rate": _decision_rate,
    "quality": _quality,
    "calibration": _calibration,
    "fairness": _fairness,
    "scores": _scores,
    "split": _split,
}
