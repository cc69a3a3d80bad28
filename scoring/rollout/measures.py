"""What guardrails measure of a version, from what the judge has seen: each quantity with its interval. Pure.

docs/concepts/rollout-guardrails.md explains each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scoring.rollout.comparisons import LEAST, Numbers, counts_as, losses, mean, ratio_of_means
from scoring.rollout.evidence import Interval, Latencies, Rate, Split, Verdict, latency_ratio, rate_ratio, verdict
from scoring.rollout.sample import Mask, Sample
from scoring.rollout.seen import CHAMPION, Seen, Subject
from streams.definitions.rollout import Guardrail, Measure

_P99 = 0.99
# One disturbance may fall into two moments.
_LEAST_FAILURES = 3
# Of each column of groups, its most frequent values are judged.
_MOST_GROUPS = 20
_UNKNOWN = Interval(0.0, np.inf)


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


class Found(NamedTuple):
    """What a guardrail has measured.

    Attributes:
        events: How many moments or entities it rests on.
        measured: The quantities that can be measured at present.
        group: For fairness: ``input=value``.
    """

    events: int
    measured: tuple[Measured, ...]
    group: str | None = None


class Question(NamedTuple):
    """What is asked: one guardrail, of one version.

    Attributes:
        seen: What was seen.
        subject: The version.
        guardrail: The guardrail.
        alpha: The probability that chance alone ever fails a version that keeps its bounds.
    """

    seen: Seen
    subject: Subject
    guardrail: Guardrail
    alpha: float

    def absolute(self, what: str, interval: Callable[[], Interval]) -> Iterator[Measured]:
        """The quantity, if the guardrail has absolute bounds."""
        return _held(self.guardrail.absolute, what, interval)

    def relative(self, what: str, interval: Callable[[], Interval]) -> Iterator[Measured]:
        """Its ratio to the champion's, if the guardrail has relative bounds, and the champion serves anybody."""
        published = self.seen.state.published
        if published.weights[published.policy.champion.name]:
            yield from _held(self.guardrail.relative, f"{what} / the champion's", interval)

    def spent(self, sample: Sample) -> float:
        """The part of alpha for a sample as it is now.

        After a halving, it is another sample with a sequence of its own: all together have alpha.
        """
        halvings = sum(sample.halvings)
        return self.alpha * (0.1 * 2.0**-halvings if halvings else 0.9)


def measure(question: Question) -> Iterator[Found]:
    """What the guardrail has measured: once, or for fairness once for each group."""
    return _MEASURES[question.guardrail.measure](question)


def _held(bounds: tuple[float, float] | None, what: str, interval: Callable[[], Interval]) -> Iterator[Measured]:
    if bounds is not None:
        allowed, found = Interval(*bounds), interval()
        yield Measured(what, found, allowed, verdict(found, allowed))


def _errors(question: Question) -> Iterator[Found]:
    seen, subject, alpha = question.seen, question.subject, question.spent(question.seen.state.calls)
    if subject.in_shadow:
        _, places = seen.one_for_each_moment(seen.is_complete)
        counted = places[~seen.is_failed[places]]  # where it is the service that fails, not the version
        failed = np.isnan(seen.shadow_ms(subject.place)[counted])
    else:
        # Of a dead letter, the champion had no number either, although it was asked in the arm's place.
        own = seen.is_call & ~seen.is_letter & (seen.call_arm == subject.place)
        moments, places = seen.one_for_each_moment(own)
        others, other_places = seen.one_for_each_moment(seen.is_call & (seen.call_arm == CHAMPION))
        counted = places[~np.isin(moments, others[seen.is_failed[other_places]])]
        failed = seen.is_failed[counted]
    rate = Rate(hits=int(failed.sum()), of=len(counted))
    measured = question.absolute("share of moments without a score in time", lambda: rate.interval(alpha))
    yield Found(rate.of, tuple(each._replace(verdict=_of_errors(rate, each, alpha)) for each in measured))


def _of_errors(rate: Rate, measured: Measured, alpha: float) -> Verdict:
    """Whether a rate is above what is allowed: an e-process made for this sees it in half as many events."""
    if measured.verdict is Verdict.EQUIVALENT:
        return Verdict.EQUIVALENT
    is_above = rate.log_e_above(measured.allowed.high) >= -np.log(alpha)
    return Verdict.WORSE if is_above and rate.hits >= _LEAST_FAILURES else Verdict.CONTINUE


def _latency(question: Question) -> Iterator[Found]:
    seen, subject, alpha = question.seen, question.subject, question.spent(question.seen.state.calls)

    def latencies(times: Numbers, chosen: Mask) -> Latencies:
        _, places = seen.one_for_each_moment(chosen & ~np.isnan(times))
        return Latencies.of(times[places])

    if subject.in_shadow:
        own = latencies(seen.shadow_ms(subject.place), seen.is_complete)
    else:
        own = latencies(seen.infer_ms, np.asarray(seen.call_arm == subject.place))
    champions = latencies(seen.infer_ms, np.asarray(seen.call_arm == CHAMPION))
    measured = (
        *question.absolute("p99 of a call in ms", lambda: own.interval(_P99, alpha)),
        *question.relative("p99 of a call", lambda: latency_ratio(own, champions, _P99, alpha)),
    )
    yield Found(sum(own.counts), measured)


def _decision_rate(question: Question) -> Iterator[Found]:
    seen = question.seen
    yield _decisions(question, np.ones(len(seen.arm), np.bool_), question.spent(seen.state.entities))


def _fairness(question: Question) -> Iterator[Found]:
    """The rate of decisions within each of the most frequent groups."""
    seen, names = question.seen, question.seen.facts.groups
    for place, name in enumerate(names):
        column = seen.groups[:, place]
        values, counts = np.unique(column[~np.isnan(seen.arm)], return_counts=True)
        for value in values[np.lexsort((values, -counts))][:_MOST_GROUPS].tolist():
            inside = np.isnan(column) if np.isnan(value) else column == value
            alpha = question.spent(seen.state.entities) / (_MOST_GROUPS * len(names))
            group = f"{name}={'null' if np.isnan(value) else format(value, 'g')}"
            yield _decisions(question, inside, alpha)._replace(group=group)


def _decisions(question: Question, inside: Mask, alpha: float) -> Found:
    """The shares of positive decisions among some of the entities. No entity counts for both versions."""
    seen, subject, threshold = question.seen, question.subject, question.seen.facts.threshold
    if subject.in_shadow:
        scores, pairs = seen.shadow_score(subject.place), inside & seen.is_pair(subject.place)
        is_own = seen.state.entities.rows["slice"] >= np.uint64(2**63)
        own, other = pairs & is_own, pairs & ~is_own
    else:
        scores, own, other = seen.score, seen.has_score(subject.place) & inside, seen.has_score(CHAMPION) & inside
    rate, champions = (
        Rate(hits=int((column[chosen] >= threshold).sum()), of=int(chosen.sum()))
        for column, chosen in ((scores, own), (seen.score, other))
    )
    measured = (
        *question.absolute("share of positive decisions", lambda: rate.interval(alpha)),
        *question.relative("share of positive decisions", lambda: rate_ratio(rate, champions, alpha)),
    )
    return Found(rate.of + champions.of, measured)


def _quality(question: Question) -> Iterator[Found]:
    seen, (scores, champions, labels) = question.seen, _labelled(question)
    alpha, is_regression = question.spent(seen.state.entities), seen.facts.task == "regression"
    loss = "brier" if is_regression else seen.facts.rollout.loss
    is_known = is_regression or _has_both(labels)
    own, other = losses(scores, labels, loss), losses(champions, labels, loss)
    measured = (
        *question.absolute("mean loss", lambda: mean(own, alpha) if is_known else _UNKNOWN),
        *question.relative("mean loss", lambda: ratio_of_means(own, other, alpha) if is_known else _UNKNOWN),
    )
    yield Found(len(labels), measured)


def _calibration(question: Question) -> Iterator[Found]:
    seen, slot, alpha = question.seen, question.subject.place, question.spent(question.seen.state.entities)
    scores, _, labels = _labelled(question)
    pairs = seen.is_pair(slot)
    own, champions = seen.shadow_score(slot)[pairs], seen.score[pairs]

    def to_truth() -> Interval:
        return ratio_of_means(scores, labels, alpha) if _has_both(labels) else _UNKNOWN

    def to_champion() -> Interval:
        is_known = min(counts_as(own), counts_as(champions)) >= LEAST
        return ratio_of_means(own, champions, alpha) if is_known else _UNKNOWN

    has_labels = seen.facts.task is not None
    of_truth = question.absolute("mean score / share of positive labels", to_truth) if has_labels else ()
    yield Found(len(own), (*of_truth, *question.relative("mean score", to_champion)))


def _labelled(question: Question) -> tuple[Numbers, Numbers, Numbers]:
    """Pairs of scores whose label is known: the version's scores, the champion's, and the labels."""
    seen, slot = question.seen, question.subject.place
    chosen = seen.is_pair(slot) & seen.is_judged_by_label
    return seen.shadow_score(slot)[chosen], seen.score[chosen], seen.label[chosen]


def _has_both(labels: Numbers) -> bool:
    positives = int((labels > 0).sum())
    return min(positives, len(labels) - positives) >= LEAST


def _scores(question: Question) -> Iterator[Found]:
    """How often two entities, one after the other, have exactly the same score."""
    seen, subject, alpha = question.seen, question.subject, question.spent(question.seen.state.entities)
    if subject.in_shadow:
        scores, own = seen.shadow_score(subject.place), seen.is_pair(subject.place)
        other = own
    else:
        scores, own, other = seen.score, seen.has_score(subject.place), seen.has_score(CHAMPION)
    rate, champions = (_same(column[seen.in_order(chosen)]) for column, chosen in ((scores, own), (seen.score, other)))
    measured = (
        *question.absolute("share of equal scores", lambda: rate.interval(alpha)),
        *question.relative("share of equal scores", lambda: rate_ratio(rate, champions, alpha)),
    )
    yield Found(2 * rate.of, measured)


def _same(scores: Numbers) -> Rate:
    """Of how many pairs both scores are the same; each score is in one pair."""
    half = len(scores) // 2
    return Rate(hits=int((scores[: 2 * half : 2] == scores[1 : 2 * half : 2]).sum()), of=half)


def _split(question: Question) -> Iterator[Found]:
    seen, weights = question.seen, question.seen.state.published.weights
    places = [place for place, weight in enumerate(weights.values()) if weight]
    if len(places) < 2:
        return
    arms, alpha = _arms_of_entities(seen), question.spent(seen.state.entities)
    counts, shares = tuple(int((arms == place).sum()) for place in places), tuple(filter(None, weights.values()))
    # An arm without a weight gets nobody.
    is_wrong = sum(counts) < len(arms) or Split(counts=counts).log_e(shares) >= -np.log(alpha)
    own = places.index(question.subject.place)
    interval, declared = Rate(hits=counts[own], of=len(arms)).interval(alpha), Interval(shares[own], shares[own])
    said = Verdict.WORSE if is_wrong else Verdict.CONTINUE
    yield Found(len(arms), (Measured("share of entities", interval, declared, said),))


def _arms_of_entities(seen: Seen) -> NDArray[np.float64]:
    """The arm of each entity at its first event, of those in the smallest slice, which is the same for all arms."""
    sample = seen.state.entities
    lowest = (np.uint64(1) << np.uint64(max(sample.halvings))) - np.uint64(1)
    places = seen.in_order(seen.is_present & ~np.isnan(seen.arm) & ((sample.rows["slice"] & lowest) == 0))
    _, first = np.unique(sample.rows["slice"][places], return_index=True)
    return np.asarray(seen.arm[places[first]], np.float64)


_MEASURES: Mapping[Measure, Callable[[Question], Iterator[Found]]] = {
    "errors": _errors,
    "latency": _latency,
    "decision_rate": _decision_rate,
    "quality": _quality,
    "calibration": _calibration,
    "fairness": _fairness,
    "scores": _scores,
    "split": _split,
}
