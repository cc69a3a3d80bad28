"""A rollout log in memory, in the place of Kafka's topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.commands.rollout import changing, looking
from scoring.rollout import publication
from scoring.rollout.policy_log import Entry, Logged, PolicyChange
from scoring.rollout.policy_store import UnreadablePolicyError

Decide = Callable[[PolicyChange | None], PolicyChange | None]


class FakeLog:
    """Takes changes as the store does; other writers do ``meanwhile``, once, between a reading and the next change."""

    def __init__(self) -> None:
        self.entries: list[Logged] = []
        self.has_garbage = False  # the last record of the policy's topic is none
        self.meanwhile: Callable[[], None] = lambda: None

    @property
    def changes(self) -> list[PolicyChange]:
        return [logged.entry for logged in self.entries if isinstance(logged.entry, PolicyChange)]

    @property
    def present(self) -> PolicyChange | None:
        return self.changes[-1] if self.changes else None

    def write(self, entry: Entry) -> None:
        self.entries.append(Logged(2 * len(self.entries), 1_772_323_200_000, entry))

    def read_policy(self, _kafka: object, _pipeline: object) -> PolicyChange | None:
        if self.has_garbage:
            raise UnreadablePolicyError("it is no JSON", "rollout[0]@7")
        return self.present

    def read_followed(self, _kafka: object, _pipeline: object) -> PolicyChange | None:
        return self.present

    def why_unreadable(self, _kafka: object, _pipeline: object) -> UnreadablePolicyError | None:
        return UnreadablePolicyError("it is no JSON", "rollout[0]@7") if self.has_garbage else None

    def iterate(self, _kafka: object, _pipeline: object) -> Iterator[Logged]:
        return iter(list(self.entries))

    def change(self, kafka: object, pipeline: object, decide: Decide, *, repairs: bool = False) -> PolicyChange | None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        change = decide(self.present if repairs else self.read_policy(kafka, pipeline))
        if change is not None:
            self.has_garbage = False
            assert change.previous == (None if self.present is None else self.present.policy.hash)
            self.write(change)
        return change

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in the place of the store, wherever a command uses that."""
        places: dict[str, Any] = {
            "read_policy": self.read_policy,
            "read_followed": self.read_followed,
            "why_unreadable": self.why_unreadable,
            "iterate_log": self.iterate,
            "change_policy": self.change,
        }
        for module in (looking, changing, publication):
            for name, place in places.items():
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, place)
