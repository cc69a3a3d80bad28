"""How a command that can go on later is stopped: by a signal, after the step that it is at."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def stop_event() -> threading.Event:
    """An event that SIGINT and SIGTERM set; a second signal ends the process at once."""
    stop = threading.Event()

    def request_stop(number: int, _frame: FrameType | None) -> None:
        # An exception raised here may pass through C code of a library, which would replace it.
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    return stop
