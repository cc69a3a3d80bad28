"""What the scorer notes with each offset that it commits: how far back answers lie, and which policy it followed.

It is the metadata of the committed offset, so it is true if and only if the answers before that offset are written.
Pure.
"""

from __future__ import annotations

import json
from typing import NamedTuple, Self

from scoring.look_back import LookBack


class CommitNote(NamedTuple):
    """The note of one partition; it takes less than 1,200 of the 4,096 bytes that the broker allows.

    Args:
        look_back: Where the answers of events lie; None if that is not known.
        policy: The hash of the rollout policy of the latest newly scored event; None if there was none.
    """

    look_back: LookBack | None
    policy: str | None

    def dump(self) -> str:
        """As the metadata of a committed offset; empty if there is nothing to note."""
        if self.policy is None:
            return "" if self.look_back is None else self.look_back.dump()
        fields = {} if self.look_back is None else json.loads(self.look_back.dump())
        return json.dumps(fields | {"policy": self.policy}, separators=(",", ":"))

    @classmethod
    def load(cls, metadata: str | None) -> Self:
        """From the metadata of a committed offset; with None for what is not there."""
        return cls(LookBack.load(metadata), _policy(metadata))


def _policy(metadata: str | None) -> str | None:
    try:
        policy = json.loads(metadata or "")["policy"]
    except (ValueError, TypeError, KeyError):
        return None
    return policy if isinstance(policy, str) else None
