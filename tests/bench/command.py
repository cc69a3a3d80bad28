"""How the benchmarks run as commands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from penstock.errors import PenstockError


def run(main: Callable[[], int]) -> None:
    """Run a benchmark and end the process; also at SIGTERM its stack is taken down."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except PenstockError as error:
        sys.exit(f"error: {error}")
