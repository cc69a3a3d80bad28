"""For who asks now: send an event, and wait for its prediction until a deadline.

::

    from penstock.client import Client

    with Client("ads/pipeline.py", fallback="show") as client:
        answer = client.ask({"impression_id": "i-1", ...}, deadline_ms=200)
        answer.decision, answer.source

``docs/guides/asking.md`` says what an answer promises. Here are what callers import (this module and :mod:`answers`),
the pure rules (:mod:`waits`), and the two ways to Kafka (:mod:`sending`, :mod:`reading`).
"""

from penstock.client.answers import Answer, EventConflict, EventRefused, Known, Prediction, TooBusy
from penstock.client.client import Client, Fallback
from penstock.client.client_metrics import ClientMetrics
from schemas.producer import InvalidEvent

__all__ = [
    "Answer",
    "Client",
    "ClientMetrics",
    "EventConflict",
    "EventRefused",
    "Fallback",
    "InvalidEvent",
    "Known",
    "Prediction",
    "TooBusy",
]
