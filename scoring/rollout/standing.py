"""What a rollout controller stands on between two transactions: a policy, what was seen, and how far it has read. Pure.

The present policy is that of the policy's topic. The log has the same changes in their order, later or earlier than
other topics are read. A change that comes in the log is either the one that is judged, or an earlier one that is still
to be passed over (``Note.ahead``), or one that somebody else has published meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from scoring.rollout.completeness import Completeness
from scoring.rollout.controller_input import Observed
from scoring.rollout.controller_store import Kept, Note
from scoring.rollout.judge import Judge
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.label_clock import LabelClock
from scoring.rollout.policy_log import Entry, Marker, PolicyChange, Refusal, encode
from scoring.rollout.transitions import decision_between


@dataclass(frozen=True)
class Inherited:
    """What the last controller has left, as far as it can be used.

    Args:
        note: The note with which to go on.
        seen: What the judge has seen; None if it begins with nothing.
        is_first: Whether no controller has judged this pipeline before.
        lost: Why evidence for the present policy is lost; None if it is not.
    """

    note: Note
    seen: JudgeState | None
    is_first: bool
    lost: str | None = None

    @classmethod
    def of(cls, kept: Kept) -> Inherited:
        """What was kept, for the present policy."""
        note, change = kept.note, kept.policy
        if change is None:
            return cls(Note(ahead=False), None, is_first=note is None)
        if note is None or note.change is None:
            return cls(Note(change=change), None, is_first=note is None)
        is_same = note.change == change
        promoted = note.promoted if note.promoted == change.policy.policy.champion.version else None
        following = Note(change=change, ahead=note.ahead if is_same else True, promoted=promoted)
        if note.change.status == "ended":
            return cls(following, None, is_first=False)
        try:
            return cls(following, JudgeState.load(kept.state), is_first=False)
        except PenstockError as error:
            is_judged = change.policy.hash == note.change.policy.hash
            return cls(following, None, is_first=False, lost=error.what if is_judged else None)


@dataclass
class Standing:
    """What a controller stands on.

    Args:
        judge: The judge.
        note: What it knows beside what was seen.
        state: What the judge has seen; None if nothing is judged.
        positions: The offset of the next record to read, of every partition.
        unsaved: Those of them that are not committed.
        saved_as: The note and the state as they are saved.
        news: Whether the judge was told anything since it was last asked.
        completeness: Up to which feature records all answers have been read.
        label_clock: Up to which time all labels have been read.
    """

    judge: Judge
    note: Note
    state: JudgeState | None
    positions: dict[Partition, int]
    unsaved: dict[Partition, int] = field(default_factory=dict)
    saved_as: tuple[Note, JudgeState | None] | None = None
    news: bool = True
    completeness: Completeness = field(default_factory=Completeness)
    label_clock: LabelClock = field(default_factory=LabelClock)

    @classmethod
    def begin(cls, judge: Judge, note: Note, seen: JudgeState | None, starts: Mapping[Partition, int]) -> Standing:
        """Stand on a change and what was seen, and read from these offsets on."""
        return cls(judge, note, _state(judge, note.change, seen), dict(starts), dict(starts))

    @property
    def change(self) -> PolicyChange | None:
        """The change whose policy is judged."""
        return self.note.change

    @property
    def is_saved(self) -> bool:
        """Whether there is nothing to save."""
        return not self.unsaved and self.saved_as == (self.note, self.state)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of policies whose predictions the judge wants."""
        return () if self.state is None else self.state.versions

    def records(self) -> dict[str, bytes]:
        """What the judge has seen, to be saved."""
        return {} if self.state is None else self.state.records()

    def saved(self) -> None:
        """All is saved now."""
        self.unsaved.clear()
        self.saved_as = self.note, self.state

    def made_current(self) -> None:
        """The promoted version is the current one in the model repository."""
        self.note = self.note.model_copy(update={"promoted": None})

    def advance(self, positions: Mapping[Partition, int]) -> None:
        """Everything before these offsets was handed over."""
        known = self.positions
        later = {partition: offset for partition, offset in positions.items() if offset > known.get(partition, offset)}
        self.positions |= later
        self.unsaved |= later

    def follow(self, entries: Iterable[Entry]) -> bool:
        """Take in what the log says next; False if somebody else has published a policy: take up again."""
        told: list[Marker | Refusal] = []
        for entry in entries:
            if not isinstance(entry, PolicyChange):
                told.append(entry)
            elif entry == self.change:
                self.note = self.note.model_copy(update={"ahead": False})
            elif not self.note.ahead:
                return False
            elif self.state is not None and entry.policy.hash != self.state.policy:
                # What scorers said before is of an earlier rollout by the same policy.
                told.clear()
                self.state = self.judge.forget_entries(self.state)
        if told and self.state is not None:
            self.state = self.judge.observe(self.state, entries=told)
            self.news = True
        return True

    def observe(self, observed: Observed) -> None:
        """Take in what was read of the other topics."""
        self.label_clock.saw(observed.labels)
        if self.state is None or observed.is_empty:
            return
        live, shadow, letters, labels, _ = observed
        self.state = self.judge.observe(self.state, live=live, shadow=shadow, letters=letters, labels=labels)
        self.news = True

    def complete(self) -> None:
        """Tell the judge up to where all answers and labels have been handed over; after :meth:`advance`."""
        reached, labels_ms = self.completeness.reached(self.positions), self.label_clock.complete(self.positions)
        if self.state is None:
            return
        news = {number: offset for number, offset in reached.items() if offset > self.state.complete.get(number, 0)}
        is_later = labels_ms is not None and (self.state.labels_ms is None or labels_ms > self.state.labels_ms)
        if news or is_later:
            self.state = self.judge.observe(self.state, complete=news, labels_ms=labels_ms)
            self.news = True

    def decide(self, now_ms: int) -> PolicyChange | None:
        """The change that is due, as it will be read again."""
        self.news = False
        if self.state is None or self.change is None:
            return None
        change = self.judge.decide(self.state, self.change, now_ms)
        return None if change is None else PolicyChange.model_validate_json(encode(change))

    def following(self, change: PolicyChange) -> Standing:
        """What to stand on once a change of the judge's is published."""
        champion, before = change.policy.policy.champion.version, self.change
        is_promotion = before is not None and decision_between(before, change) == "promoted"
        promoted = champion if is_promotion or self.note.promoted == champion else None
        note = Note(change=change, ahead=True, promoted=promoted)
        return Standing(
            self.judge,
            note,
            _state(self.judge, change, self.state),
            dict(self.positions),
            dict(self.unsaved),
            completeness=self.completeness,
            label_clock=self.label_clock,
        )


def _state(judge: Judge, change: PolicyChange | None, seen: JudgeState | None) -> JudgeState | None:
    """With what a change is judged; None if nothing is to be judged."""
    if change is None or change.status == "ended":
        return None
    return judge.begin(change, seen)
