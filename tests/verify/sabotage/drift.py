"""What can be wrong with drift alerts and the states of the detectors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Encoder
from schemas.records import DRIFT_SCHEMA
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import first, mutant
from verify.run_data import RunData

_ALERTS = "drift_alerts_missing", "drift_alerts_extra", "drift_mismatches"


def _edit_alert(run: RunData, **changes: Any) -> RunData:
    alerts = list(run.alerts)
    value = {**_decode(DRIFT_SCHEMA, alerts[0]), **changes}
    alerts[0] = dataclasses.replace(alerts[0], value=Encoder(DRIFT_SCHEMA).encode(value))
    return dataclasses.replace(run, alerts=alerts)


def _decode(schema: Mapping[str, Any], record: Record) -> dict[str, Any]:
    value = Decoder(dict(schema)).decode(record.value or b"")
    assert isinstance(value, dict)
    return value


def _edit_state(run: RunData, edit: Callable[[dict[str, Any]], None]) -> RunData:
    """Change the latest state of a partition that has alerts."""
    latest = {record.key: place for place, record in enumerate(run.states) if record.value is not None}
    states = list(run.states)
    alerted = (p for p in latest.values() if json.loads(states[p].value or b"{}")["alerts"] > 0)
    place = first(alerted, "state of a partition with alerts")
    state = json.loads(states[place].value or b"")
    edit(state)
    states[place] = dataclasses.replace(states[place], value=json.dumps(state).encode())
    return dataclasses.replace(run, states=states)


@mutant(*_ALERTS)
def an_alert_lost(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=run.alerts[1:])


@mutant("drift_alert_duplicates")
def an_alert_published_twice(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=[*run.alerts, run.alerts[0]])


@mutant(*_ALERTS)
def an_alert_that_came_late(_: Project, run: RunData) -> RunData:
    alert = _decode(DRIFT_SCHEMA, run.alerts[0])
    offset = alert["offset"] + 3
    alert_id = f"{alert['topic']}-{alert['partition']}-{offset}:{alert['monitor']}:{alert['detector']}"
    return _edit_alert(run, offset=offset, alert_id=alert_id)


@mutant("drift_mismatches")
def an_alert_with_another_statistic(_: Project, run: RunData) -> RunData:
    return _edit_alert(run, statistic=_decode(DRIFT_SCHEMA, run.alerts[0])["statistic"] * 1.001)


@mutant("drift_mismatches")
def an_alert_at_another_time(_: Project, run: RunData) -> RunData:
    return _edit_alert(run, event_time=_decode(DRIFT_SCHEMA, run.alerts[0])["event_time"] + 1)


@mutant(*_ALERTS)
def an_alert_of_another_model_version(_: Project, run: RunData) -> RunData:
    return _edit_alert(run, model_version="9")


@mutant(*_ALERTS)
def a_state_of_drift_begun_anew(_: Project, run: RunData) -> RunData:
    return _edit_state(run, lambda state: state.update(start=state["position"] - 5))


@mutant("drift_mismatches")
def a_state_that_counted_another_number_of_events(_: Project, run: RunData) -> RunData:
    return _edit_state(run, lambda state: state.update(observed=state["observed"] + 1))


@mutant("drift_mismatches")
def a_state_with_another_histogram(_: Project, run: RunData) -> RunData:
    def edit(state: dict[str, Any]) -> None:
        monitor = next(iter(state["monitors"].values()))
        monitor["bins"] = "AAAA" + monitor["bins"][4:]

    return _edit_state(run, edit)


@mutant("drift_unfollowed")
def records_after_the_saved_states(_: Project, run: RunData) -> RunData:
    newest = max(run.predictions, key=lambda record: record.offset)
    later = dataclasses.replace(newest, offset=newest.offset + 10)
    predictions = [later if record is newest else record for record in run.predictions]
    return dataclasses.replace(run, predictions=predictions)


@mutant("unchecked")
def a_drift_app_that_never_ran(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=(), states=())


@mutant("drift_mismatches")
def a_state_that_covers_no_record(_: Project, run: RunData) -> RunData:
    return _edit_state(run, lambda state: state.update(start=state["position"]))


@mutant("drift_mismatches")
def a_state_that_cannot_be_read(_: Project, run: RunData) -> RunData:
    states = [dataclasses.replace(record, value=b"garbage") for record in run.states]
    return dataclasses.replace(run, states=states)


@mutant("drift_mismatches")
def garbage_among_the_alerts(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=[*run.alerts, dataclasses.replace(run.alerts[0], value=b"hello")])
