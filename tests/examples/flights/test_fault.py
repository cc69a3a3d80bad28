"""The demo's fault of a producer."""

from __future__ import annotations

from examples.flights.fault import in_seconds
from examples.flights.pipeline import FlightDue
from examples.flights.replay import messages
from schemas.avro import contract_schema
from schemas.codec import Decoder


def test_only_delays_of_later_events_change_and_all_stay_valid():
    decoder = Decoder(contract_schema(FlightDue))
    for number, (sound, faulty) in enumerate(zip(messages(500), in_seconds(messages(500), 300), strict=True)):
        if number < 300 or sound.kind != "event":
            assert faulty == sound
            continue
        before, after = (FlightDue.model_validate(decoder.decode(one.value or b"")) for one in (sound, faulty))
        delay = before.dep_delay
        assert after == before.model_copy(update={"dep_delay": None if delay is None else delay * 60})
