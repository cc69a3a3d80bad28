"""The judge of a rollout: from what was seen to the next policy. Pure: no Kafka, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from penstock.counts import counted
from scoring.rollout.bandit import Rewards
from scoring.rollout.collecting import collect, collect_entries, collect_labels
from scoring.rollout.evidence import Verdict
from scoring.rollout.facts import Facts
from scoring.rollout.guardrails import GuardrailReport, judge_guardrails
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.next_policies import at_step, promoted, reweighted, rolled_back
from scoring.rollout.observations import Label, Letter, Live, Shadow
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal, Status
from scoring.rollout.seen import Seen, events_of, subjects
from scoring.rollout.wording import evidence_of, sentence
from streams.definitions.windows import duration_text

AUTHOR = "controller"
# A bandit counts the events of so many of its latest policies.
_MOST_VERSIONS = 1_000


class Judge:
    """Judges the rollouts of one pipeline by its guardrails.

    The same observations give the same state, in whatever batches, and in whatever order the topics are read. What is
    seen twice counts once.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def begin(self, change: PolicyChange, previous: JudgeState | None = None) -> JudgeState:
        """The state with which a policy is judged.

        Call it for each change of the policy, before any record under this policy is handed over, and after loading.

        Returns:
            ``previous`` itself if it is of the same published policy, as after a pause. What a bandit has seen goes on
            with its next weights. Otherwise a state in which nothing has been seen.
        """
        published = change.policy
        most = self._facts.rollout.most_entities
        fresh = JudgeState.empty(published, len(self._facts.groups), most)
        if previous is None or previous.groups != fresh.groups:
            return fresh
        if previous.policy == fresh.policy and previous.is_like(fresh):
            return previous
        is_same = previous.published.policy.hash == published.policy.hash
        if is_same and published.policy.mode == "bandit" and previous.is_like(fresh):
            versions = (*previous.versions, published.version)[-_MOST_VERSIONS:]
            return replace(fresh, versions=versions, entities=previous.entities, labels=previous.labels)
        return fresh

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
        if live or shadow or letters:
            state = collect(state, live, shadow, letters, self._facts.rollout.entity_again)
        if live or shadow or labels:
            state = collect_labels(state, labels)
        return collect_entries(state, entries, complete or {})

    def report(self, state: JudgeState) -> list[GuardrailReport]:
        """What each guardrail says so far."""
        return judge_guardrails(state, self._facts)

    def decide(self, state: JudgeState, change: PolicyChange, now_ms: int) -> PolicyChange | None:
        """The change that is due, by the author ``controller``, with its evidence; None to go on.

        It may be the same policy with another status. Only a change whose status is ``running`` is judged.

        Args:
            state: What was seen under the change's policy.
            change: The latest change of the policy.
            now_ms: The time, epoch ms.

        Raises:
            ValueError: if the state is of another policy.
        """
        if state.policy != change.policy.hash:
            raise ValueError(f"the state is of policy {state.policy[:12]}, the change of {change.policy.version}")
        if change.status != "running":
            return None
        return _Decision(state, change, now_ms, self._facts).made()


class _Decision:
    """One decision: the reports, and what follows from them."""

    def __init__(self, state: JudgeState, change: PolicyChange, now_ms: int, facts: Facts) -> None:
        self._state = state
        self._change = change
        self._now_ms = now_ms
        self._facts = facts
        self._reports = judge_guardrails(state, facts)

    def made(self) -> PolicyChange | None:
        published = self._state.published
        if self._state.refusal is not None:
            return self._stop(f"the policy cannot be followed: {self._state.refusal}")
        failed = [one for one in self._reports if one.verdict is Verdict.WORSE and self._counts(one)]
        if failed:
            return self._stop("; ".join(map(sentence, failed)))
        if published.policy.mode == "canary":
            return self._canary()
        if published.policy.mode == "bandit" and self._passed_ms >= self._facts.rollout.reweight_every:
            return self._bandit()
        return None

    def _counts(self, report: GuardrailReport) -> bool:
        """Whether a failure ends the rollout: in mode shadow, that of any version."""
        return report.is_candidate or self._state.published.policy.mode == "shadow"

    def _stop(self, why: str) -> PolicyChange:
        published = self._state.published
        if published.policy.mode == "shadow":  # nobody is served by it, so there is nothing to take back
            return self._next(published, "paused", f"paused: {why}")
        return self._next(rolled_back(published), "ended", f"rolled back: {why}")

    def _canary(self) -> PolicyChange | None:
        published, number = self._state.published, self._change.step
        steps = published.policy.steps
        step, (candidate,) = steps[number], published.policy.candidates
        (subject, *_) = subjects(self._state)
        events = events_of(self._state, subject)
        open_ = [one for one in self._reports if one.awaited and one.verdict is not Verdict.EQUIVALENT]
        if not open_ and events >= step.least_events and self._passed_ms >= step.least_time:
            passed = "; ".join(sentence(one) for one in self._reports if one.awaited)
            after = f"after {counted(events, 'event')} in {self._passed}" + (f": {passed}" if passed else "")
            if number + 1 < len(steps):
                weight = f"{100 * steps[number + 1].weight:g} %"
                reason = f"step {number + 2} of {len(steps)}, {weight}, {after}"
                return self._next(at_step(published, number + 1), "running", reason, step=number + 1)
            return self._next(promoted(published, candidate.name), "ended", f"promoted {after}")
        if self._passed_ms < step.most_time:
            return None
        missing = [sentence(one) for one in open_]
        if events < step.least_events:
            missing.append(f"{counted(events, 'event')} of at least {step.least_events:,}")
        return self._next(
            published, "paused", f"paused: not sure after {self._passed}: {'; '.join(missing)}", step=number
        )

    def _bandit(self) -> PolicyChange | None:
        published, seen = self._state.published, Seen(self._state, self._facts)
        rewards = {}
        for place, arm in enumerate(published.policy.arms):
            rewarded = seen.label[seen.is_judged_by_label & (seen.arm == place)]
            rewards[arm.name] = Rewards(len(rewarded), int((rewarded > 0).sum()))
        following = reweighted(published, rewards)
        if following.hash == published.hash:
            return None
        listed = ", ".join(f"{name} {each.rewarded:,} of {each.events:,}" for name, each in rewards.items())
        return self._next(following, "running", f"new weights, from rewards: {listed}")

    @property
    def _passed_ms(self) -> int:
        return self._now_ms - self._change.time_ms

    @property
    def _passed(self) -> str:
        return duration_text(max(self._passed_ms // 1_000, 1) * 1_000)

    def _next(self, policy: PublishedPolicy, status: Status, reason: str, step: int = 0) -> PolicyChange:
        evidence: dict[str, JsonValue] = {
            "step": self._change.step,
            "passed_ms": self._passed_ms,
            "alpha": self._facts.rollout.alpha,
            "versions": [
                {"version": one.version, "events": events_of(self._state, one)} for one in subjects(self._state)
            ],
            "guardrails": [evidence_of(one) for one in self._reports],
        }
        return PolicyChange(
            policy=policy,
            author=AUTHOR,
            reason=reason,
            evidence=evidence,
            previous=self._change.policy.hash,
            time_ms=self._now_ms,
            step=step,
            status=status,
        )
