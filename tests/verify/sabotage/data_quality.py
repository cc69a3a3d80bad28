"""What can be wrong with the counts and alerts of data quality.

The recorded run of these mutants is made of raw records alone (:mod:`tests.verify.test_check_data_quality`).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from collections.abc import Callable
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.history import record_decoder
from schemas.records import DRIFT_SCHEMA
from streams.plan.project import Project
from tests.verify.sabotage.catalogue import Mutant, first, mutant
from verify.run_data import RunData

DATA_QUALITY_MUTANTS: list[Mutant] = []
_FOUND = "data_quality_mismatches"


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_null_that_was_not_counted(_: Project, run: RunData) -> RunData:
    return _edit_window(run, "nulls", lambda window: _add(window["counts"], "weight:null", -1))


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_value_out_of_range_that_counts_twice(_: Project, run: RunData) -> RunData:
    return _edit_window(run, "ranges", lambda window: _add(window["counts"], "weight:range", 1))


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_record_of_another_producer(_: Project, run: RunData) -> RunData:
    """Counts of one producer are kept under the name of another."""

    def swaps(state: dict[str, Any]) -> bool:
        one, other = sorted(state["windows"])[:2]
        state["windows"][one], state["windows"][other] = state["windows"][other], state["windows"][one]
        return True

    return _edit(run, b"events.", swaps)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_window_that_was_lost_at_a_restart(_: Project, run: RunData) -> RunData:
    def loses(window: dict[str, Any]) -> bool:
        if not window["records"]:
            return False
        for name in ("counts", "in_block", "first", "before", "new"):
            window[name] = {}
        window["records"] = window["block"] = 0
        return True

    return _edit_window(run, "window that goes on", loses)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def records_that_were_read_twice(_: Project, run: RunData) -> RunData:
    def adds(state: dict[str, Any]) -> bool:
        state["observed"] += 3
        return True

    return _edit(run, b"events.", adds)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_category_that_nobody_sent(_: Project, run: RunData) -> RunData:
    def invents(state: dict[str, Any]) -> bool:
        state["known"]["carrier"]["0123456789abcdef"] = 1
        return True

    return _edit(run, b"events.", invents)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_new_category_that_was_forgotten(_: Project, run: RunData) -> RunData:
    def forgets(state: dict[str, Any]) -> bool:
        had = bool(state["known"]["carrier"])
        state["known"]["carrier"] = {}
        return had

    return _edit(run, b"events.", forgets)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_sketch_without_its_values(_: Project, run: RunData) -> RunData:
    def empties(window: dict[str, Any]) -> bool:
        if window["records"] < 30:
            return False
        size = len(zlib.decompress(base64.b64decode(window["distinct"]["parcel_id"])))
        window["distinct"]["parcel_id"] = base64.b64encode(zlib.compress(bytes(size))).decode()
        return True

    return _edit_window(run, "sketch", empties)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def many_ids_that_are_said_to_have_come_before(_: Project, run: RunData) -> RunData:
    return _edit_window(run, "ids", lambda window: _add(window["counts"], ":duplicate", 40, new=True))


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def an_event_that_no_hour_counted(_: Project, run: RunData) -> RunData:
    return _edit_topic(run, lambda state: _add(state["hours"]["counts"], next(iter(state["hours"]["counts"]), ""), -1))


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def an_hour_with_an_event_too_many(_: Project, run: RunData) -> RunData:
    def adds(state: dict[str, Any]) -> bool:
        state["day"][-1][1] += 1
        return True

    return _edit_topic(run, adds)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_check_that_is_beyond_its_limit_unnoticed(_: Project, run: RunData) -> RunData:
    def forgets(state: dict[str, Any]) -> bool:
        had = bool(state["over"])
        state["over"] = {}
        return had

    return _edit_topic(run, forgets)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_check_that_is_said_to_be_beyond_its_limit(_: Project, run: RunData) -> RunData:
    def adds(state: dict[str, Any]) -> bool:
        state["over"]["4.1|weight:range"] = [0]
        return True

    return _edit_topic(run, adds)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def a_last_record_that_is_not_the_last(_: Project, run: RunData) -> RunData:
    def moves(state: dict[str, Any]) -> bool:
        state["last"]["offset"] -= 1
        return True

    return _edit_topic(run, moves)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def an_alert_that_was_not_published(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=run.alerts[1:])


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def an_alert_that_was_published_twice(_: Project, run: RunData) -> RunData:
    return dataclasses.replace(run, alerts=[*run.alerts, run.alerts[0]])


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def an_alert_about_another_record(_: Project, run: RunData) -> RunData:
    def moves(alert: dict[str, Any]) -> dict[str, Any]:
        name = alert["alert_id"].replace(f"-{alert['offset']}:", f"-{alert['offset'] + 1}:")
        return alert | {"offset": alert["offset"] + 1, "alert_id": name}

    return _edit_alert(run, moves)


@mutant(_FOUND, into=DATA_QUALITY_MUTANTS)
def an_alert_with_another_share(_: Project, run: RunData) -> RunData:
    return _edit_alert(run, lambda alert: alert | {"statistic": alert["statistic"] / 2})


def _add(counts: dict[str, int], check: str, number: int, *, new: bool = False) -> bool:
    if check not in counts and not new:
        return False
    counts[check] = counts.get(check, 0) + number
    return True


def _edit(run: RunData, prefix: bytes, change: Callable[[dict[str, Any]], bool]) -> RunData:
    """Change the state of the first partition that can be changed; as last published."""
    latest = {record.key or b"": place for place, record in enumerate(run.data_quality)}
    for key, place in latest.items():
        if key.startswith(prefix):
            content = json.loads(run.data_quality[place].value or b"")
            if change(content["state"]):
                return _replaced(run, place, content)
    return first((), "partition's state of this kind")


def _edit_window(run: RunData, what: str, change: Callable[[dict[str, Any]], bool]) -> RunData:
    def edits(state: dict[str, Any]) -> bool:
        return any(change(window) for window in state["windows"].values())

    try:
        return _edit(run, b"events.", edits)
    except Exception as error:
        raise AssertionError(f"no window has {what}") from error


def _edit_topic(run: RunData, change: Callable[[dict[str, Any]], bool]) -> RunData:
    latest = {record.key or b"": place for place, record in enumerate(run.data_quality)}
    place = latest[b"note"]
    content = json.loads(run.data_quality[place].value or b"")
    assert change(next(iter(content["state"]["topics"].values())))
    return _replaced(run, place, content)


def _replaced(run: RunData, place: int, content: Any) -> RunData:
    records: list[Record] = list(run.data_quality)
    records[place] = dataclasses.replace(records[place], value=json.dumps(content).encode())
    return dataclasses.replace(run, data_quality=records)


def _edit_alert(run: RunData, change: Callable[[dict[str, Any]], dict[str, Any]]) -> RunData:
    alerts = list(run.alerts)
    alert = record_decoder("drift_alert").decode(alerts[0].value or b"")
    alerts[0] = dataclasses.replace(alerts[0], value=Encoder(DRIFT_SCHEMA).encode(change(alert)))
    return dataclasses.replace(run, alerts=alerts)
