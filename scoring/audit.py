"""The audit slice: of some clear cases of a cascade both scores are taken, so that its regret is known. Pure.

The regret of a cascade is what its decisions lose against those of the strong model. In the band there is none; of the
clear cases, the slice tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.cascade import Scores, is_positive, upper_bound

SHARE = 0.01
_BITS = 53  # of a double's fraction


def audit_salt(pipeline: str) -> str:
    """The salt of a pipeline's audit slice."""
    return f"{pipeline}/audit"


def positions(salt: str, ids: Sequence[str]) -> NDArray[np.float64]:
    """Where each id lies in [0, 1), for a salt.

    It is the first 53 bits of the SHA-256 of salt, 0x1F and id, in UTF-8: uniform, the same in every process and
    replay, and independent of the position for another salt.
    """
    prefix = hashlib.sha256(f"{salt}\x1f".encode())
    digests = []
    for each in ids:
        digest = prefix.copy()
        digest.update(each.encode())
        digests.append(digest.digest()[:8])
    words = np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)
    return np.asarray((words >> np.uint64(64 - _BITS)) * 2.0**-_BITS, np.float64)


def in_slice(salt: str, ids: Sequence[str], share: float = SHARE) -> NDArray[np.bool_]:
    """Which ids, of events or entities, are in a slice; those of a smaller share are in every larger one, too."""
    return positions(salt, ids) < share


@dataclass(frozen=True)
class AuditCounts:
    """What was counted of audited clear cases.

    Attributes:
        audited: Clear cases that both models scored.
        differing: Those that they decide differently.
        labelled: Those whose truth is known.
        extra_false_positives: Of these, how many more the fast model wrongly decides as positive; may be below 0.
        extra_false_negatives: How many more it wrongly decides as negative.
    """

    audited: int = 0
    differing: int = 0
    labelled: int = 0
    extra_false_positives: int = 0
    extra_false_negatives: int = 0

    @classmethod
    def of(
        cls,
        fast: Scores,
        strong: Scores,
        threshold: float,
        labels: Scores | None = None,
    ) -> AuditCounts:
        """Count events.

        Args:
            fast: The fast model's scores, [N], all outside the band.
            strong: The strong model's scores of the same events.
            threshold: A decision is positive if its score is at least this.
            labels: 1 or 0, or NaN where the truth is not known; None if it is known of none.
        """
        by_fast, by_strong = is_positive(fast, threshold), is_positive(strong, threshold)
        more = by_fast.astype(np.int64) - by_strong
        truth = np.full(len(more), np.nan) if labels is None else labels
        return cls(
            audited=len(more),
            differing=int(np.count_nonzero(more)),
            labelled=int(np.count_nonzero(~np.isnan(truth))),
            extra_false_positives=int(more[truth == 0].sum()),
            extra_false_negatives=-int(more[truth == 1].sum()),
        )

    def bound(self, alpha: float = 0.05) -> float:
        """The upper bound of the share of differing ones; with probability ``alpha`` at most, the share exceeds it."""
        return upper_bound(self.differing, self.audited, alpha)
