"""Who waits for which event, and what is known of it: the rules of a client, without Kafka and without a clock.

An event is identified by its id. Asking again joins the wait that is on, or gets the answer that was given. The first
answer stays: once one caller got a fallback, others get the same, even if the prediction has come since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from penstock.client.answers import NOT_SENT, Answer, Known, Prediction, Refusal

# The stages at which the job refuses an event: whoever sent it must correct it.
_REFUSED_AT = frozenset({"decode", "validate"})


class Place(NamedTuple):
    """Where an event stands on its topic."""

    partition: int
    offset: int


class Busy(Exception):  # noqa: N818 - describes the state
    """As many calls wait, or as many events are being sent, as are allowed."""


class Conflict(Exception):  # noqa: N818 - describes what was passed
    """The id belongs to another event."""


class Begun(Enum):
    """What a call that asks for an event does next."""

    SEND = auto()  # nobody has asked for it: send it, and wait
    JOIN = auto()  # it is on its way: wait
    SETTLED = auto()  # it is answered or refused: do not wait


@dataclass(eq=False, slots=True)
class Asked:
    """One event that was asked for. ``known`` is done as soon as there is no reason to wait any longer.

    Args:
        event_id: Its id.
        event_time: Its time, epoch ms.
        content: A hash of all of it.
        begun_s: When it was first asked for, on the client's clock.
    """

    event_id: str
    event_time: int
    content: bytes
    begun_s: float
    known: Future[None] = field(default_factory=Future)
    waiting: int = 0
    is_sending: bool = False
    place: Place | None = None
    given: Answer | None = None
    prediction: Prediction | None = None
    refusal: Refusal | None = None
    no_prediction: str | None = None
    """Why no prediction will come: what the fallback is given for, before the deadline."""

    @property
    def is_refused(self) -> bool:
        """Whether the event itself is at fault, and nothing has been answered or predicted."""
        refused = self.refusal is not None and self.refusal.stage in _REFUSED_AT
        return refused and self.given is None


class Waits:
    """All events that a client was asked for, and the latest predictions of the pipeline. Not thread-safe.

    Args:
        most_in_flight: How many calls may wait, and how many events may be on their way to Kafka.
        most_remembered: How many events are remembered after that, and how many predictions of events that nobody
            here has asked for.
        decode: Reads a prediction's value; None if it cannot be read.
    """

    def __init__(self, most_in_flight: int, most_remembered: int, decode: Callable[[bytes], Prediction | None]) -> None:
        self._most_in_flight, self._most_remembered, self._decode = most_in_flight, most_remembered, decode
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._others: OrderedDict[str, bytes] = OrderedDict()  # predictions of events that were not asked for here
        self._at: dict[Place, Asked] = {}
        self._letters: OrderedDict[Place, Refusal] = OrderedDict()  # that came before their event's acknowledgement
        self._waiting = self._sending = 0

    @property
    def in_flight(self) -> int:
        """Calls that wait, or events on their way to Kafka, whichever are more."""
        return max(self._waiting, self._sending)

    def begin(self, event_id: str, event_time: int, content: bytes, now_s: float) -> tuple[Asked, Begun]:
        """A call asks for an event. Unless it is settled, call :meth:`leave` when the call ends.

        Raises:
            Conflict: if the id belongs to another event.
            Busy: if it would have to wait, and too many do.
        """
        asked = self._asked.get(event_id)
        if asked is None:
            asked = self._of_others(event_id, event_time, content, now_s)
        if asked is not None:
            if (asked.event_time, asked.content) != (event_time, content):
                raise Conflict
            self._asked.move_to_end(event_id)
            if asked.given is not None or asked.is_refused:
                return asked, Begun.SETTLED
        if max(self._waiting, self._sending if asked is None else 0) >= self._most_in_flight:
            raise Busy
        begun = Begun.JOIN
        if asked is None:
            begun = Begun.SEND
            asked = self._asked[event_id] = Asked(event_id, event_time, content, now_s, is_sending=True)
            self._sending += 1
            self._forget_old()
        asked.waiting += 1
        self._waiting += 1
        return asked, begun

    def leave(self, asked: Asked) -> None:
        """A call that waited has ended, whatever it got."""
        asked.waiting -= 1
        self._waiting -= 1
        if not asked.waiting and asked.known.done():
            asked.known = _KNOWN  # a future of its own takes more memory than the rest

    def acknowledged(self, asked: Asked, place: Place) -> None:
        """Kafka has the event."""
        self._sent(asked)
        if asked.prediction is None and self._asked.get(asked.event_id) is asked:
            self._at[place], asked.place = asked, place
            letter = self._letters.pop(place, None)
            if letter is not None:
                self.refused(place, letter)

    def undelivered(self, asked: Asked) -> None:
        """Kafka did not take the event: it is forgotten, so that asking again sends it again."""
        self._sent(asked)
        if self._asked.get(asked.event_id) is asked:
            del self._asked[asked.event_id]
        self._cannot_come(asked, NOT_SENT)

    def predicted(self, event_id: str, value: bytes, now_s: float) -> Asked | None:
        """A prediction was published.

        Returns:
            The event, if it was asked for here and this is its first prediction.
        """
        asked = self._asked.get(event_id)
        if asked is None:
            self._others[event_id] = value
            self._others.move_to_end(event_id)
            if len(self._others) > self._most_remembered:
                self._others.popitem(last=False)
            return None
        prediction = self._decode(value)
        # An event of another producer that has the same id: the wait is not for that.
        if prediction is None or asked.prediction is not None or prediction.event_time != asked.event_time:
            return None
        asked.prediction = prediction
        self._leave_place(asked)
        self._answer(asked, now_s)
        return asked

    def refused(self, place: Place, refusal: Refusal) -> None:
        """A dead letter was published."""
        asked = self._at.get(place)
        if asked is None:
            self._letters[place] = refusal
            if len(self._letters) > self._most_in_flight:
                self._letters.popitem(last=False)
            return
        self._leave_place(asked)
        asked.refusal = refusal
        self._cannot_come(asked, refusal.reason)

    def give(self, asked: Asked, answer: Answer) -> Answer:
        """The answer to an event: this one, unless another was given before."""
        if asked.given is None:
            asked.given = answer
            _done(asked)
        return asked.given

    def lookup(self, event_id: str) -> Known | None:
        """What is known of an event; None if nothing is, or not any more."""
        asked = self._asked.get(event_id)
        if asked is not None:
            return Known(event_id, asked.given, asked.prediction, asked.refusal)
        value = self._others.get(event_id)
        prediction = None if value is None else self._decode(value)
        return None if prediction is None else Known(event_id, None, prediction, None)

    def _of_others(self, event_id: str, event_time: int, content: bytes, now_s: float) -> Asked | None:
        """An event that this client did not send, and that has its prediction: the pipeline would drop it now."""
        value = self._others.pop(event_id, None)
        prediction = None if value is None else self._decode(value)
        if value is None or prediction is None:
            return None
        if prediction.event_time != event_time:
            self._others[event_id] = value
            raise Conflict
        asked = self._asked[event_id] = Asked(event_id, event_time, content, now_s, prediction=prediction)
        self._answer(asked, now_s)
        self._forget_old()
        return asked

    def _answer(self, asked: Asked, now_s: float) -> None:
        found = asked.prediction
        assert found is not None
        waited_ms = 1000 * (now_s - asked.begun_s)
        named = (found.decision, found.score, found.model, found.model_version)
        self.give(asked, Answer(asked.event_id, *named, "model", None, waited_ms))

    def _cannot_come(self, asked: Asked, reason: str) -> None:
        asked.no_prediction = reason
        _done(asked)

    def _sent(self, asked: Asked) -> None:
        if asked.is_sending:
            asked.is_sending = False
            self._sending -= 1

    def _forget_old(self) -> None:
        """Forget the events that were asked for longest ago, apart from those in flight."""
        too_many = len(self._asked) - self._most_remembered - self._most_in_flight
        for _ in range(len(self._asked)):
            if too_many <= 0:
                return
            event_id, asked = self._asked.popitem(last=False)
            if asked.waiting or asked.is_sending:
                self._asked[event_id] = asked
            else:
                self._leave_place(asked)
                too_many -= 1

    def _leave_place(self, asked: Asked) -> None:
        if asked.place is not None:
            if self._at.get(asked.place) is asked:  # a topic that was made anew has another event there
                del self._at[asked.place]
            asked.place = None


def _known() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


_KNOWN = _known()


def _done(asked: Asked) -> None:
    if not asked.known.done():
        asked.known.set_result(None)
