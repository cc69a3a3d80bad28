"""The rollout controller: reads what scorers answer and what labels say, and publishes what follows for the policy.

One process for each pipeline, one thread. It reads everything, gives it to the judge (:mod:`scoring.rollout.judge`),
and asks it whether a change is due. What the judge has seen is saved every few seconds, and at once with a change, each
time in one transaction with the offsets (:mod:`scoring.rollout.controller_store`).

Whoever else publishes a policy fences the controller's producer. The controller then takes up again what is committed:
it reads the present policy, its state and its offsets. Nothing is committed after somebody else has published a policy,
so all records under that policy are still to be read.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.reading import RecordsGoneError
from penstock.kafka.retention import GapPolicy
from penstock.kafka.sole_member import Replaced, SoleConsumer, SoleMember
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from scoring.rollout.completeness import CutWatch
from scoring.rollout.controller_consumer import Batch, batch_of
from scoring.rollout.controller_input import InputReader
from scoring.rollout.controller_metrics import ControllerMetrics
from scoring.rollout.controller_positions import Found, Positions, why_lost
from scoring.rollout.controller_records import Unreadable, read_log
from scoring.rollout.controller_store import ControllerStore, Kept
from scoring.rollout.judge import Judge
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.pace import Pace
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.promotion import Promotions
from scoring.rollout.standing import Inherited, Standing
from scoring.rollout.transitions import decision_between, held_back

_log = logging.getLogger(__name__)

# How long a poll waits for records: a decision is as late at most.
_POLL_S = 0.1
_MOST_RECORDS = 5_000
# State and offsets are saved this often, or after the second if the state is large: under heavy traffic most of it
# changes all the time. What was not saved is read again after a crash.
_SAVE_S, _SAVE_AT_LEAST_S = 2.0, 10.0
_SAVE_BYTES_S = 2_000_000
# The judge is asked when it was told something; and as time passes, too. See `Pace`.
_ASK_AT_LEAST_S = 1.0
_REPORT_S, _REPORT_AT_LEAST_S = 1.0, 60.0
# Pauses before what has failed is tried again, and before waits for Kafka.
_PAUSE_S = 0.5
_LOGGED_UNREADABLE = 5
_REPLACED = Replaced(
    "another controller of this pipeline runs, and has replaced this one",
    "leave it to the other one: a pipeline has one controller",
)


@dataclass(frozen=True)
class ControllerComponents:
    """The components of a controller. Their creator owns and closes them."""

    consumer: SoleConsumer
    store: ControllerStore
    positions: Positions
    judge: Judge
    reader: InputReader
    cuts: CutWatch
    promotions: Promotions
    metrics: ControllerMetrics
    watch: LagWatch
    gaps: GapPolicy


class Controller:
    """Runs the controller of a pipeline.

    Args:
        log_topic: The topic of the rollout's log.
        labels_topics: The topics of labels.
        partitions: The number of partitions of each topic that it reads.
        components: Consumer, store, judge and the rest.
        now: Wall-clock epoch milliseconds.
        clock: Monotonic seconds.
        wait: Sleeps that many seconds, or less if the process shall stop.
        stopping: Whether the process shall stop; what was read is saved first.
    """

    def __init__(
        self,
        log_topic: str,
        labels_topics: Sequence[str],
        partitions: Mapping[str, int],
        components: ControllerComponents,
        *,
        now: Callable[[], int],
        clock: Callable[[], float],
        wait: Callable[[float], object],
        stopping: Callable[[], bool],
    ) -> None:
        self._log_topic = log_topic
        self._labels = [(topic, number) for topic in labels_topics for number in range(partitions[topic])]
        self._everything = {(topic, number) for topic, count in partitions.items() for number in range(count)}
        self._components = components
        self._consumer = components.consumer
        self._metrics = components.metrics
        self._now = now
        self._wait = wait
        self._stopping = stopping
        self._member = SoleMember(self._consumer, self._everything, components.watch, self._forget)
        self._standing: Standing | None = None  # None: to be taken up
        # The last change and the next one, while it is not known whether that is published.
        self._deciding: tuple[PolicyChange, PolicyChange] | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self._backlog: dict[Partition, int] = {}
        self._unread: dict[Partition, int] = {}  # where topics ended when it was taken up, until all that is read
        self._save_pace = Pace(clock, _SAVE_S, _SAVE_AT_LEAST_S)
        self._news_pace = Pace(clock, 0.0, _ASK_AT_LEAST_S)
        self._time_pace = Pace(clock, _ASK_AT_LEAST_S, _ASK_AT_LEAST_S)
        self._report_pace = Pace(clock, _REPORT_S, _REPORT_AT_LEAST_S)

    def run(self) -> None:
        """Judge until told to stop.

        Raises:
            InstanceFencedError: if another controller of the pipeline was started.
            MembershipLostError: if the group must be joined again, with a new consumer.
            PenstockError: if no retry can help. A restart goes on from what is saved.
        """
        self._member.run(self._step, self._finish, self._stopping, _REPLACED)

    def _finish(self) -> None:
        if self._standing is not None and not self._standing.is_saved:
            self._write(self._standing)

    def _step(self) -> None:
        """Read what has come, and do what is due."""
        batch = batch_of(self._consumer.consume(_MOST_RECORDS, timeout=_POLL_S))
        self._components.store.serve()
        if batch.is_off:
            self._standing = None
        if self._standing is None:
            # What comes meanwhile is read again: polling only keeps the membership of the group.
            if self._member.has_everything:
                self._take_up()
            return
        with self._metrics.observe_seconds.time():
            is_taken = self._read(self._standing, batch)
        if is_taken:
            self._decide(self._standing)
            self._do_what_is_due()
        else:
            self._standing = None

    def _do_what_is_due(self) -> None:
        standing = self._standing
        if standing is not None and not standing.is_saved and self._save_pace.is_due():
            self._write(standing)
            standing = self._standing
        if standing is None:
            return
        if standing.note.promoted is not None and self._components.promotions.advance(standing.note.promoted):
            standing.made_current()
        if self._report_pace.is_due():
            with self._report_pace.measured():
                self._report(standing)

    # Beginning, and beginning again.

    def _take_up(self) -> None:
        """Stand on what is committed; nothing happens if that cannot be found out now."""
        if not self._components.store.start():
            return
        try:
            kept = self._components.store.read()
            found = self._components.positions.find()
            standing = self._stand(kept, found)
        except RecordsGoneError:
            raise
        except (PenstockError, KafkaException, TimeoutError) as error:
            _log.warning("what is saved cannot be read now: %s; trying again", str(error).partition("\n")[0])
            self._wait(_PAUSE_S)
            return
        self._place(standing, found)
        if self._deciding is not None and self._deciding[1] == kept.policy:
            self._published(*self._deciding)
        self._deciding = None
        self._standing = standing
        self._counts.clear()
        self._metrics.set_change(kept.policy)
        self._report(standing)
        _log.info("%s", _describe(standing))

    def _stand(self, kept: Kept, found: Found) -> Standing:
        """What to stand on, by what was kept and what the topics still have."""
        components, inherited = self._components, Inherited.of(kept)
        note, lost, starts = inherited.note, inherited.lost, found.starts
        since_ms = None if note.change is None or note.change.status == "ended" else note.change.time_ms
        for gap in found.gaps:
            components.gaps.pass_over(gap)
        if found.gaps:
            lost = why_lost(found.gaps)
        elif inherited.is_first and found.starts:
            lost = "there are offsets and no state"
        elif found.new and not inherited.is_first:
            lost = f"no offset is committed of {found.new[0][0]}[{found.new[0][1]}]"
        elif found.new and since_ms is not None:
            starts, is_whole = components.positions.since(found, since_ms)
            lost = None if is_whole else "Kafka has deleted predictions since the policy was published"
        elif found.new:
            starts = components.positions.anew(found, None)
        if lost is None and not components.judge.can_go_on(note.change, inherited.seen):
            lost = "the pipeline has other groups or another most_entities now"
        if lost is None:
            return Standing.begin(components.judge, note, inherited.seen, starts)
        if since_ms is not None:
            self._metrics.begun_anew()
            _log.warning("evidence is lost, and the present step begins anew: %s", lost)
        note = note.model_copy(update={"ahead": note.change is not None})  # the log is read again
        return Standing.begin(components.judge, note, None, components.positions.anew(found, since_ms))

    def _place(self, standing: Standing, found: Found) -> None:
        """Read on from where to stand. Labels wait until the predictions that were there are read."""
        self._consumer.incremental_unassign([TopicPartition(*partition) for partition in self._everything])
        self._consumer.incremental_assign([TopicPartition(*place, at) for place, at in standing.positions.items()])
        self._components.watch.done(standing.positions)
        self._unread = {**found.ends}
        answers = self._components.reader.topics[:2]
        self._backlog = {partition: end for partition, end in found.ends.items() if partition[0] in answers}
        # A pause outlives the assignment.
        self._consumer.resume([TopicPartition(*partition) for partition in self._everything])
        self._consumer.pause([TopicPartition(*partition) for partition in self._labels])
        self._resume_labels(standing)

    def _resume_labels(self, standing: Standing) -> None:
        """Read labels, too, once their predictions are read: the judge remembers few labels without one."""
        self._backlog = {place: end for place, end in self._backlog.items() if standing.positions[place] < end}
        if not self._backlog:
            self._consumer.resume([TopicPartition(*partition) for partition in self._labels])

    # Reading and deciding.

    def _read(self, standing: Standing, batch: Batch) -> bool:
        """Take in a batch; False if it must be read again."""
        components, passed = self._components, list[Unreadable]()
        log = batch.records.pop(self._log_topic, [])
        if not standing.follow(read_log(self._log_topic, log, passed)):
            _log.info("somebody has published another policy")
            return False
        if standing.versions and batch.records:
            try:
                observed = components.reader.read(batch.records, standing.versions)
            except PenstockError as error:  # the schema registry of the labels
                _log.warning("%s; the records are read again", error.what)
                self._wait(_PAUSE_S)
                return False
            standing.observe(observed)
            assert standing.change is not None
            self._counts += observed.routes(standing.change.policy)
            passed += observed.passed
        self._note_unreadable(passed)
        standing.advance(batch.positions)
        self._unread = {place: end for place, end in self._unread.items() if standing.positions[place] < end}
        standing.completeness.add(components.cuts.take())
        standing.label_clock.add(components.cuts.take_labels(standing.label_clock.reached_ms))
        standing.complete()
        if self._backlog:
            self._resume_labels(standing)
        return True

    def _note_unreadable(self, passed: list[Unreadable]) -> None:
        for number, one in enumerate(passed):
            self._metrics.unreadable(one.topic)
            if number < _LOGGED_UNREADABLE:
                _log.warning("passed over %s: %s", one.where, one.why)
        if len(passed) > _LOGGED_UNREADABLE:
            _log.warning("and %d more", len(passed) - _LOGGED_UNREADABLE)

    def _decide(self, standing: Standing) -> None:
        """Ask the judge, and publish what it says.

        While there is more to read that was there at the beginning, as after a long absence, only a rollback is
        published: what is still to be read may tell that a version fails, or that it need not wait any longer.
        """
        pace = self._news_pace if standing.news else self._time_pace
        if not pace.is_due():
            return
        with self._news_pace.measured(), self._time_pace.measured(), self._metrics.decide_seconds.time():
            change = standing.decide(self._now())
        if change is None:
            return
        assert standing.change is not None
        decision = decision_between(standing.change, change)
        if self._unread and decision != "rolled_back":
            return
        if decision == "promoted":
            why_not = self._components.promotions.why_not(change.policy.policy.champion.version)
            change = change if why_not is None else held_back(standing.change, change, why_not)
        self._deciding = standing.change, change
        following = standing.following(change)
        if self._write(following, publishes=True):
            self._published(*self._deciding)
            self._deciding = None
            self._standing = following
            self._metrics.set_change(change)

    def _published(self, before: PolicyChange, change: PolicyChange) -> None:
        self._metrics.decided(decision_between(before, change))
        _log.info("published policy %s (%s): %s", change.policy.version, change.status, change.reason)

    # Writing.

    def _write(self, standing: Standing, *, publishes: bool = False) -> bool:
        """Save what to stand on; False if it must be taken up again."""
        components, records = self._components, standing.records()
        log = {(self._log_topic, 0): standing.positions[self._log_topic, 0]}
        offsets = {**log, **standing.unsaved}
        outcome = "written"
        try:
            with self._metrics.save_seconds.time():
                group = self._consumer.consumer_group_metadata()
                size = components.store.write(standing.note, records, offsets, group, self._now(), publishes=publishes)
                self._save_pace.done(size / _SAVE_BYTES_S)
        # Whether another controller has replaced this one, the consumer finds out: its heartbeats are fenced, too.
        except (TransactionAbortedError, InstanceFencedError, OutcomeUnknownError) as error:
            outcome = "unknown" if isinstance(error, OutcomeUnknownError) else "aborted"
            _log.info("the state was not saved: another writer has come in between, or Kafka fails: %s", error)
        self._metrics.transaction(outcome)
        # Not in the except block, whose exception keeps the discarded producer alive.
        if outcome != "written":
            self._standing = None
            # A person's command that has fenced this process is done by then, and is not fenced in turn.
            self._wait(_PAUSE_S)
            return False
        standing.saved()
        self._metrics.add_events(self._counts)
        self._counts.clear()
        components.watch.done(offsets)
        return True

    def _report(self, standing: Standing) -> None:
        state: JudgeState | None = standing.state
        self._metrics.set_reports([] if state is None else self._components.judge.report(state))
        self._metrics.pending.set(standing.completeness.pending(standing.positions))

    def _forget(self) -> None:
        self._standing = None


def _describe(standing: Standing) -> str:
    change = standing.change
    if change is None:
        return "no policy is published: waiting for the first"
    policy = change.policy
    if change.status == "ended":
        return f"policy {policy.version} tries nothing: waiting for another"
    step = f" at step {change.step + 1} of {len(policy.policy.steps)}" if policy.policy.steps else ""
    return f"judging policy {policy.version} ({policy.policy.mode}{step}, {change.status})"
