import threading
import time

import pytest

from penstock.kafka.call_timeout import CallTimeoutError, call_with_timeout


def fail() -> None:
    raise ValueError("refused")


def test_a_call_that_returns_has_returned():
    done = []
    call_with_timeout(5.0, lambda: done.append(1), lambda: False)
    assert done == [1]


def test_what_the_call_raises_is_raised():
    with pytest.raises(ValueError, match="refused"):
        call_with_timeout(5.0, fail, lambda: False)


@pytest.mark.parametrize(("seconds", "expired"), [(1.2, lambda: False), (60.0, lambda: True)])
def test_a_call_that_does_not_return_is_abandoned_in_time_or_when_it_is_no_longer_wanted(seconds, expired):
    released, began = threading.Event(), time.monotonic()
    with pytest.raises(CallTimeoutError, match="does not return"):
        call_with_timeout(seconds, lambda: released.wait(30) and None, expired)
    assert 0.9 < time.monotonic() - began < 5.0
    released.set()
