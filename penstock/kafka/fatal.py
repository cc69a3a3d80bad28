"""Fatal errors of a producer: the client raises their cause once, in whichever call runs its callbacks next."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException


def run_callbacks(call: Callable[[], int]) -> tuple[int, KafkaError | None]:
    """Poll or flush a producer, which runs the delivery callbacks.

    Returns:
        What the call returns, and the cause of a fatal error, if the client raised one. Callbacks may not have learned
        of records that failed with it.
    """
    try:
        return call(), None
    except (KafkaException, SystemError) as error:
        # SystemError: the client called a delivery callback while it raised the error, and that report was lost.
        fatal = error.__cause__ if isinstance(error, SystemError) else error
        if not isinstance(fatal, KafkaException):
            raise
        return call(), fatal.args[0]
