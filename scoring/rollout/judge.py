"""The judge of a rollout: from what was seen to the next policy. Pure: no Kafka, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from penstock.counts import counted
from scoring.rollout.collecting import collect, collect_entries, collect_labels
from scoring.rollout.evidence import Verdict
from scoring.rollout.facts import Facts
from scoring.rollout.guardrails import GuardrailReport, judge_guardrails
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.next_policies import at_step, reweighted
from scoring.rollout.observations import Label, Letter, Live, Shadow
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_log import Marker, PolicyChange, Refusal
from scoring.rollout.seen import events_of, rewards_of, subjects
from scoring.rollout.transitions import By, paused, promoted, rolled_back
from scoring.rollout.wording import evidence_of_all, sentences
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
        facts, most = self._facts, self._facts.rollout.most_entities
        fresh = JudgeState.empty(published, len(facts.groups), most, facts.maturity.horizon_ms, facts.sources)
        if previous is None or not previous.is_like(fresh):
            return fresh
        if previous.policy == fresh.policy:
            return previous
        if published.policy.mode == "bandit" and previous.published.policy.hash == published.policy.hash:
            versions = (*previous.versions, published.version)[-_MOST_VERSIONS:]
            return replace(
                fresh,
                versions=versions,
                entities=previous.entities,
                labels=previous.labels,
                labels_ms=previous.labels_ms,
                served_ms=previous.served_ms,
            )
        return fresh

    def can_go_on(self, change: PolicyChange | None, seen: JudgeState | None) -> bool:
        """Whether what was seen is not of this policy, or is still remembered in the same way.

        Otherwise :meth:`begin` forgets it, and the judge must be told everything from where it begins anew.
        """
        if change is None or seen is None or seen.policy != change.policy.hash:
            return True
        return self.begin(change, seen) is seen

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
        labels_ms: int | None = None,
    ) -> JudgeState:
        """Take in what was read, from any topics. Records of other policies are ignored.

        Args:
            state: From :meth:`begin` or :meth:`observe`.
            live: Of the predictions topic.
            shadow: Of the shadow topic.
            letters: Of the predictions' dead-letter topic.
            labels: Of the topics of labels.
            entries: Of the log of the rollout: dead letters count from the policy's marker of their partition on.
            complete: For partitions of the features topic: the offset below which all live and shadow predictions have
                been handed over, now or before. Where a shadow prediction is missing below, its version has failed.
            labels_ms: The time up to which all labels have been handed over, epoch ms, now or before. With a horizon,
                an event is judged by its label when this and the predictions are that much later.
        """
        if live or shadow or letters:
            state = collect(state, live, shadow, letters, self._facts.rollout.entity_again)
        if labels:
            state = collect_labels(state, labels)
        if labels_ms is not None:
            state = replace(state, labels_ms=max(labels_ms, state.labels_ms or labels_ms))
        return collect_entries(state, entries, complete or {})

    def forget_entries(self, state: JudgeState) -> JudgeState:
        """Forget what the log has said of the policy: it was published once more since then."""
        return replace(state, markers={}, refusal=None)

    def report(self, state: JudgeState) -> list[GuardrailReport]:
        """What each guardrail says so far."""
        return judge_guardrails(state, self._facts)

    def decide(self, state: JudgeState, change: PolicyChange, now_ms: int) -> PolicyChange | None:
        """The change that is due, by the author ``controller``, with its evidence; None to go on.

        It may be the same policy with another status. While it is paused, it is only ever stopped; once it has ended,
        nothing is due.

        Args:
            state: What was seen under the change's policy.
            change: The latest change of the policy.
            now_ms: The time, epoch ms.

        Raises:
            ValueError: if the state is of another policy.
        """
        if state.policy != change.policy.hash:
            raise ValueError(f"the state is of policy {state.policy[:12]}, the change of {change.policy.version}")
        if change.status == "ended":
            return None
        return _Decision(state, change, now_ms, self._facts).made()


class _Decision:
    """One decision: the reports, and what follows from them."""

    def __init__(self, state: JudgeState, change: PolicyChange, now_ms: int, facts: Facts) -> None:
        self._state = state
        self._change = change
        self._now_ms = now_ms
        self._facts = facts
        self._passed_ms = now_ms - change.time_ms
        self._reports = judge_guardrails(state, facts)
        self._subjects = [(subject, events_of(state, subject)) for subject in subjects(state)]

    def made(self) -> PolicyChange | None:
        mode = self._state.published.policy.mode
        if self._state.refusal is not None:
            return self._stopped(f"the policy cannot be followed: {self._state.refusal}")
        # In mode shadow there is no candidate: each version counts.
        failed = [
            one for one in self._reports if one.verdict is Verdict.WORSE and (one.is_candidate or mode == "shadow")
        ]
        if failed:
            return self._stopped(sentences(failed))
        if self._change.status == "paused":
            return None
        if mode == "canary":
            return self._canary()
        if mode == "bandit" and self._passed_ms >= self._facts.rollout.reweight_every:
            return self._bandit()
        return None

    def _stopped(self, why: str) -> PolicyChange | None:
        if self._state.published.policy.mode == "shadow":  # it serves nobody, so there is nothing to take back
            return self._with_evidence(paused(self._change, self._by(f"paused: {why}")))
        return self._with_evidence(rolled_back(self._change, self._by(f"rolled back: {why}"), ()))

    def _canary(self) -> PolicyChange | None:
        number, steps = self._change.step, self._state.published.policy.steps
        step, (_, events) = steps[number], self._subjects[0]
        unsure = [one for one in self._reports if one.awaited and one.verdict is not Verdict.EQUIVALENT]
        if not unsure and events >= step.least_events and self._passed_ms >= step.least_time:
            return self._with_evidence(self._passed(events))
        if self._passed_ms < step.most_time:
            return None
        missing = [sentences(unsure)] if unsure else []
        if events < step.least_events:
            missing.append(f"{counted(events, 'event')} of at least {step.least_events:,}")
        why = f"paused: not sure after {self._time}: {'; '.join(missing)}"
        return self._with_evidence(paused(self._change, self._by(why)))

    def _passed(self, events: int) -> PolicyChange:
        number, steps = self._change.step, self._state.published.policy.steps
        surely = sentences([one for one in self._reports if one.awaited])
        after = f"after {counted(events, 'event')} in {self._time}" + (f": {surely}" if surely else "")
        if number + 1 == len(steps):
            return promoted(self._change, self._by(f"promoted {after}"))
        by = self._by(f"step {number + 2} of {len(steps)}, {100 * steps[number + 1].weight:g} %, {after}")
        return self._followed_by(at_step(self._state.published, number + 1), by, step=number + 1)

    def _bandit(self) -> PolicyChange | None:
        published, rewards = self._state.published, rewards_of(self._state, self._facts)
        following = reweighted(published, rewards)
        if following.hash == published.hash:
            return None
        listed = ", ".join(f"{name} {each.rewarded:,} of {each.events:,}" for name, each in rewards.items())
        by = self._by(f"new weights after {self._time}, from rewards: {listed}")
        return self._with_evidence(self._followed_by(following, by))

    def _by(self, reason: str) -> By:
        return By(AUTHOR, reason, self._now_ms)

    @property
    def _time(self) -> str:
        return duration_text(max(self._passed_ms // 1_000, 1) * 1_000)

    def _followed_by(self, policy: PublishedPolicy, by: By, step: int = 0) -> PolicyChange:
        return PolicyChange(
            policy=policy,
            author=by.author,
            reason=by.reason,
            previous=self._change.policy.hash,
            time_ms=by.time_ms,
            step=step,
        )

    def _with_evidence(self, change: PolicyChange | None) -> PolicyChange | None:
        if change is None:
            return None
        evidence: dict[str, JsonValue] = {
            "step": self._change.step,
            "passed_ms": self._passed_ms,
            "alpha": self._facts.rollout.alpha,
            "versions": [{"version": one.version, "events": events} for one, events in self._subjects],
            **evidence_of_all(self._reports),
        }
        return PolicyChange(**(dict(change) | {"evidence": evidence}))
