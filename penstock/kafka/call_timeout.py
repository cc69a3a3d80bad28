"""Calls into the Kafka client that may never return.

``send_offsets_to_transaction`` can hang forever when the group's coordinator leaves the cluster (librdkafka#5511).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

# However little time is left, an answer is waited for this long.
_AT_LEAST_S = 1.0
# How often a call that does not return looks whether it is still wanted.
_SLICE_S = 0.1


class CallTimeoutError(Exception):
    """The call was abandoned: whether it has had an effect is unknown."""


def call_with_timeout(seconds: float, call: Callable[[], None], expired: Callable[[], bool]) -> None:
    """Make a call that may ignore its own timeout, and abandon it and its thread after ``seconds``.

    Signals are handled meanwhile, and so the call is also abandoned soon after ``expired`` says so.

    Raises:
        CallTimeoutError: if the call did not return in time; otherwise whatever it raises.
    """
    raised: list[Exception | None] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, name="call", daemon=True)
    thread.start()
    thread.join(min(_AT_LEAST_S, seconds))
    left = seconds - _AT_LEAST_S
    while thread.is_alive() and left > 0 and not expired():
        thread.join(_SLICE_S)
        left -= _SLICE_S
    if not raised:
        raise CallTimeoutError("does not return")
    if raised[0] is not None:
        raise raised[0]
