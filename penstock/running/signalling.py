"""Sends signals to the supervisor of a run, and to no other process."""

from __future__ import annotations

import os
import signal

from penstock.running.record import RunRecord


def send(record: RunRecord, number: signal.Signals) -> bool:
    """Send a signal to the supervisor of a run; False if it does not live.

    The system gives a process's number to another one after its end. So the process is held by a file descriptor
    first, and its start compared then.
    """
    if not record.is_of_this_boot:
        return False
    try:
        held = os.pidfd_open(record.pid)
    except OSError:
        return False
    try:
        if not record.supervisor.alive:
            return False
        signal.pidfd_send_signal(held, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(held)
    return True
