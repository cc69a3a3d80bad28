"""The judge of a rollout: from what was seen to the next policy. Pure: no Kafka, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from scoring.rollout.evidence import Interval, Verdict
from scoring.rollout.observations import Label, Letter, Live, Shadow
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal
from streams.definitions.pipeline import Pipeline


class Facts(NamedTuple):
    """What the judge must know of a pipeline.

    Attributes:
        rollout: How its rollouts are judged (``streams.definitions.rollout.Rollout``).
        threshold: A decision is positive if its score is at least this.
        groups: The declared groups that are inputs of the model, and so are in the vector of each prediction.
        places: The place of each of them in the vector.
        task: ``binary``, ``regression`` or ``multiclass``; None without labels.
    """

    rollout: object
    threshold: float
    groups: tuple[str, ...]
    places: tuple[int, ...]
    task: str | None

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """The facts of a pipeline."""
        raise NotImplementedError


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
        group: For fairness: ``input=value``; else None.
        verdict: What it says, of all that was measured. ``WORSE`` stops the rollout; ``BETTER`` does not occur.
        awaited: Whether the step waits for ``EQUIVALENT``.
        events: How many units (calls, entities) it rests on.
        measured: The quantities.
    """

    guardrail: str
    version: int
    group: str | None
    verdict: Verdict
    awaited: bool
    events: int
    measured: tuple[Measured, ...]


class JudgeState:
    """What the judge has seen under a policy: immutable, of bounded size.

    Attributes:
        policy: The hash of the published policy that it is about.
    """

    policy: str

    def records(self) -> dict[str, bytes]:
        """The state as records with names, each below 500 kB.

        The names are always the same for a pipeline. Write those whose bytes have changed, together with the offsets.
        """
        raise NotImplementedError

    @classmethod
    def load(cls, records: Mapping[str, bytes]) -> Self:
        """The state that was saved.

        Raises:
            PenstockError: if a record is missing, or of another release.
        """
        raise NotImplementedError


class Judge:
    """Judges the rollouts of one pipeline by its guardrails.

    The same observations give the same state, in whatever batches, and in whatever order the topics are read. What is
    seen twice counts once.
    """

    def __init__(self, facts: Facts) -> None:
        raise NotImplementedError

    def begin(self, change: PolicyChange, previous: JudgeState | None = None) -> JudgeState:
        """The state with which a policy is judged: call it for each change of the policy, and after loading.

        It is ``previous`` itself if that is of the same published policy, as after a pause; what a bandit has learned
        goes on; otherwise nothing has been seen.
        """
        raise NotImplementedError

    def observe(
        self,
        state: JudgeState,
        *,
        live: Sequence[Live] = (),
        shadow: Sequence[Shadow] = (),
        letters: Sequence[Letter] = (),
        labels: Sequence[Label] = (),
        entries: Iterable[Marker | Refusal] = (),
        complete: Mapping[int, int] | None = None,
    ) -> JudgeState:
        """Take in what was read, from any topics. Records of other policies are ignored.

        Args:
            state: From :meth:`begin` or :meth:`observe`.
            live: Of the predictions topic.
            shadow: Of the shadow topic.
            letters: Of the predictions' dead-letter topic.
            labels: Of the labels topic.
            entries: Of the log of the rollout: dead letters count from the policy's marker of their partition on.
            complete: For partitions of the features topic: the offset below which all live and shadow predictions have
                been handed over, now or before. Where a shadow prediction is missing below, its version has failed.
        """
        raise NotImplementedError

    def report(self, state: JudgeState, change: PolicyChange) -> list[GuardrailReport]:
        """What each guardrail says so far."""
        raise NotImplementedError

    def decide(self, state: JudgeState, change: PolicyChange, now_ms: int) -> PolicyChange | None:
        """The change that is due, by the author ``controller``, with its evidence; None to go on.

        It may be the same policy with another status. Only a change whose status is ``running`` is judged.

        Args:
            state: What was seen under the change's policy.
            change: The latest change of the policy.
            now_ms: The time, epoch ms.
        """
        raise NotImplementedError
