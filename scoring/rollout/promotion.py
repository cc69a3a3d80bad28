"""Asks whether a version can be promoted, and makes one that was the current one in the model repository.

The latter does not hold up who watches the events.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from penstock.errors import PenstockError

_log = logging.getLogger(__name__)

_RETRY_S = 30.0


class Promotions:
    """Tries again until it has worked, in a thread of its own.

    Args:
        verify: Raises PenstockError if a version does not exist, or is not as it was written.
        make_current: Makes a version the current one; does nothing if it is. May raise PenstockError.
        pipeline: The pipeline as the user names it, for messages.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        verify: Callable[[int], object],
        make_current: Callable[[int], None],
        pipeline: str,
        clock: Callable[[], float],
    ) -> None:
        self._verify = verify
        self._make_current = make_current
        self._pipeline = pipeline
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._made: int | None = None
        self._next_s = 0.0

    def why_not(self, version: int) -> str | None:
        """Why a version cannot be promoted, though it has passed; None if it can be.

        Scorers may have it in memory, and go on with it, when no scorer could start with it any more.
        """
        try:
            self._verify(version)
        except (PenstockError, OSError) as error:
            return error.what if isinstance(error, PenstockError) else f"its files cannot be read: {error}"
        return None

    def advance(self, version: int) -> bool:
        """Whether this version has become the current one; begins to make it so if nothing is being made. Never waits.

        Call it again until it is true; then it is forgotten.
        """
        if self._thread is not None and self._thread.is_alive():
            return False
        made, self._thread, self._made = self._made, None, None
        if made == version:
            return True
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + _RETRY_S
            self._thread = threading.Thread(target=self._run, args=(version,), name="promotion", daemon=True)
            self._thread.start()
        return False

    def _run(self, version: int) -> None:
        try:
            self._make_current(version)
        except Exception as error:  # noqa: BLE001 - whatever it is, the policy is published, and events are watched
            what = error.what if isinstance(error, PenstockError) else f"{type(error).__name__}: {error}"
            _log.warning(
                "version %d is promoted, but not the current one in the model repository: %s; trying again in %.0f s, "
                "or: %s",
                version,
                what,
                _RETRY_S,
                f"penstock model load {self._pipeline} --version {version}",
            )
        else:
            _log.info("version %d is the current one in the model repository", version)
            self._made = version
