"""Checks what data quality has published against a second count of the raw records.

Counts, hours, categories, and which checks are beyond their limits must be exactly so; numbers of different values and
ids that came before are sketches, which may err as far as docs/concepts/data-quality.md says. Whether an hour's volume
is unusual, and silence, depend on the clock, and are not judged again; the counts that they follow from are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from penstock.kafka.reading import Record
from schemas.codec import Decoder, Registry, Undecodable, UnknownSchema
from schemas.committed import writer_schemas
from schemas.history import record_decoder
from streams.plan.project import Project
from verify.findings import Findings
from verify.raw_counts import Crossing, PartitionRecount, Raw, RawTopic, read_raw
from verify.run_data import RunData

_REFERENCE, _NOTE = b"reference", b"note"
_SHARES = frozenset(("null", "invalid", "range", "category", "malformed", "duplicate", "late"))
# The Bloom filter takes one new id in 20,000 for one that came before.
_DUPLICATE, _FALSE_DUPLICATES = ":duplicate", 1 / 20_000
_HOUR_MS, _GRACE_MS = 3_600_000, 600_000
_SIGMAS = 6.0
_CLOSE = 1e-9
_SHOWN = 5


@dataclass
class DataQualityFindings(Findings):
    """``records`` counts the raw records that were counted again, ``alerts`` the alerts that were compared."""

    records: int = 0
    alerts: int = 0
    unchecked: list[str] = field(default_factory=list)


def check_data_quality(project: Project, run: RunData, registry: Registry | None = None) -> DataQualityFindings:
    """Count again what data quality says that it has counted; nothing if it never ran."""
    findings = DataQualityFindings()
    published: dict[bytes, Record] = {}
    references = 0
    for record in run.data_quality:
        references += record.key == _REFERENCE
        published[record.key or b""] = record
    if _REFERENCE not in published or _NOTE not in published:
        return findings
    value = published[_REFERENCE].value or b""
    try:
        reference, note = json.loads(value), json.loads(published[_NOTE].value or b"")
        states = {
            key.decode(): json.loads(record.value or b"")
            for key, record in published.items()
            if key not in (_REFERENCE, _NOTE)
        }
    except ValueError as error:
        findings.mismatch(f"data-quality: what is saved cannot be read: {error}")
        return findings
    name = hashlib.sha256(value).hexdigest()[:16]
    if note["state"]["reference"] != name:
        findings.unchecked.append("data quality: the last profile was not taken up yet")
        return findings
    # The first thing on the topic is a profile. What came after another one began where that had got to.
    is_first = references == 1 and published[_REFERENCE].offset == 0
    if not is_first:
        findings.unchecked.append("data quality: where its counts begin, as raw events were profiled again")
    alerts = _alerts_by_topic(run.alerts)
    for topic, of, records in _topics(project, run):
        known = next((one for one in reference["topics"] if one["topic"] == topic), None)
        if known is None:
            continue
        read = partial(read_raw, of, read_at_ms=run.read_at_ms, registry=registry)
        check = _TopicCheck(topic, of, read, known, reference["window"], findings)
        written = _by_partition(records)
        positions = {int(n): at for n, at in note["positions"].get(topic, {}).items()}
        mine = {}
        for number in sorted(positions):
            state = states.get(f"{topic}/{number}")
            if state is not None and state["reference"] != name:
                state = None
            mine[number] = check.partition(number, written[number], positions[number], state, is_first=is_first)
        check.topic(note["state"]["topics"].get(topic, {}), mine)
        if is_first:
            check.alerts(alerts.get(topic, []))
    return findings


def _topics(project: Project, run: RunData) -> Iterable[tuple[str, RawTopic, Sequence[Record]]]:
    pipeline = project.pipeline
    quality = None if pipeline.monitors is None else pipeline.monitors.data_quality
    header = None if quality is None else quality.producer_header
    for source, records in zip(pipeline.sources, run.sources, strict=True):
        writers = Decoder(*writer_schemas(source.contract, project.schemas))
        yield (
            source.topic,
            RawTopic(source.contract, writers, source.max_future, False, header, source.envelope),
            records,
        )
    labels = () if pipeline.labels is None else pipeline.labels.sources
    for label, records in zip(labels, run.labels, strict=False):
        writers = Decoder(*writer_schemas(label.contract, project.schemas))
        yield label.topic, RawTopic(label.contract, writers, pipeline.source.max_future, True, header), records


def _by_partition(records: Iterable[Record]) -> defaultdict[int, list[Record]]:
    found: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        found[record.partition].append(record)
    return found


class _TopicCheck:
    """Compares one topic."""

    def __init__(
        self,
        topic: str,
        of: RawTopic,
        read: Callable[[Sequence[Record]], list[Raw]],
        reference: Mapping[str, Any],
        window: int,
        findings: DataQualityFindings,
    ) -> None:
        self._topic, self._of, self._read, self._reference, self._window = topic, of, read, reference, window
        self._findings = findings
        self._recounts: dict[int, PartitionRecount] = {}

    def partition(
        self, number: int, records: Sequence[Record], position: int, state: Mapping[str, Any] | None, *, is_first: bool
    ) -> list[Raw]:
        """Count the records of a partition up to a position again; returns those that are watched."""
        findings, where = self._findings, f"data-quality {self._topic}[{number}]"
        start = self._reference["start"].get(str(number), 0)
        if is_first and records and records[0].offset > start:
            findings.unchecked.append(f"{where}: Kafka has deleted raw records that were counted")
            return []
        until_ms = self._reference["until_ms"]
        taken = [record for record in records if record.offset < position and (record.offset >= start or not is_first)]
        watched = [raw for raw in self._read(taken) if raw.time is None or raw.time > until_ms]
        found = {} if state is None else state["state"]
        if not is_first:
            observed = int(found.get("observed", 0))
            watched = watched[len(watched) - min(observed, len(watched)) :]
        recount = PartitionRecount(number, self._of.contract, self._of.is_labels, self._reference, self._window)
        for raw in watched:
            recount.take(raw)
        findings.records += len(watched)
        if watched or found:
            self._recounts[number] = recount
            self._compare(where, recount, found)
        return watched

    def _compare(self, where: str, recount: PartitionRecount, found: Mapping[str, Any]) -> None:
        findings, wanted = self._findings, recount.state()
        tolerated = 1 + round(_SIGMAS * (1 + recount.observed * _FALSE_DUPLICATES) ** 0.5)
        windows = found.get("windows", {})
        differ = [] if found.get("observed") == wanted["observed"] else [("observed", "", found, wanted)]
        if found.get("known", {}) != wanted["known"]:
            differ.append(("known", "categories", found, wanted))
        for producer in sorted({*windows, *wanted["windows"]}):
            one, other = windows.get(producer, {}), wanted["windows"].get(producer, {})
            differ += [
                (name, f"producer {producer!r}", one, other)
                for name in ("last", "records", "block", "counts", "in_block", "first", "before", "new")
                if _without_ids(one.get(name)) != _without_ids(other.get(name))
            ]
            ids = [of.get("counts", {}).get(_DUPLICATE, 0) for of in (one, other)]
            if abs(ids[0] - ids[1]) > tolerated:
                findings.mismatch(f"{where} of producer {producer!r}: {ids[0]} ids came before, should be {ids[1]}")
            if producer in windows and producer in wanted["windows"]:
                self._compare_sketches(f"{where} of producer {producer!r}", one, recount.different(producer))
        for name, whose, is_, should in differ[:_SHOWN]:
            findings.note(f"{where} {whose}: {name} is {is_.get(name)!r}, should be {should.get(name)!r}")
        findings.mismatches += len(differ)

    def _compare_sketches(self, where: str, found: Mapping[str, Any], different: Mapping[str, int]) -> None:
        sketches = found.get("distinct", {})
        if sketches.keys() != different.keys():
            self._findings.mismatch(f"{where}: different values of {sorted(sketches)}, not of {sorted(different)}")
            return
        for name, number in different.items():
            try:
                bits = zlib.decompress(base64.b64decode(sketches[name], validate=True))
            except (ValueError, zlib.error) as error:
                self._findings.mismatch(f"{where}: different values of {name} cannot be read: {error}")
                continue
            estimate = _estimate(int.from_bytes(bits).bit_count(), len(bits) * 8)
            if not _fits(estimate, number, len(bits) * 8):
                self._findings.mismatch(f"{where}: about {estimate:.0f} different values of {name}, not {number}")

    def topic(self, state: Mapping[str, Any], watched: Mapping[int, Sequence[Raw]]) -> None:
        """Compare what is kept of the topic as a whole."""
        self._compare_over(state)
        findings, where = self._findings, f"data-quality {self._topic}"
        observed = sum(len(raws) for raws in watched.values())
        if state.get("observed", 0) != observed:
            findings.mismatch(f"{where}: {state.get('observed', 0)} records were watched, should be {observed}")
        timed = [(number, raw) for number, raws in watched.items() for raw in raws if raw.time is not None]
        if not timed:
            return
        hours, newest = state.get("hours", {}), max(raw.time or 0 for _, raw in timed)
        found = {int(number): time for number, time in hours.get("newest", {}).items()}
        of_number = {n: max((r.time or 0 for m, r in timed if m == n), default=0) for n in found}
        if found != of_number or max(found.values(), default=0) != newest:
            findings.mismatch(f"{where}: the newest event times are {found}, should be {of_number}, {newest} at last")
        last = state.get("last") or {}
        at = (last.get("partition"), last.get("offset"), last.get("timestamp"), last.get("event_time"))
        if at not in {(n, raw.offset, raw.timestamp, raw.time) for n, raw in timed if raw.time == newest}:
            findings.mismatch(
                f"{where}: the last record is {at}, which is not one with the latest event time, {newest}"
            )
        self._compare_hours(where, hours, state.get("day", []), timed)

    def _compare_hours(
        self, where: str, hours: Mapping[str, Any], day: Sequence[Sequence[int]], timed: Sequence[tuple[int, Raw]]
    ) -> None:
        events = Counter((raw.time or 0) // _HOUR_MS for _, raw in timed)
        begins = hours.get("next_hour")
        open_ = {hour: n for hour, n in events.items() if begins is not None and hour >= begins}
        found = {int(hour): n for hour, n in hours.get("counts", {}).items()}
        if found != open_:
            self._findings.mismatch(f"{where}: hours that go on have {found} events, should be {open_}")
        for hour, count in day:
            most = events[hour]
            least = most - _late_for(hour, timed)
            if not least <= count <= most:
                should = f"{most}" if least == most else f"{least} to {most}"
                self._findings.mismatch(f"{where}: {count} events in hour {hour} since the epoch, should be {should}")

    def _compare_over(self, state: Mapping[str, Any]) -> None:
        def is_exact(key: str) -> bool:
            kind = key.rpartition(":")[2]
            return kind in _SHARES and not key.endswith(_DUPLICATE)

        over = {(key, n) for key, numbers in state.get("over", {}).items() if is_exact(key) for n in numbers}
        should = {
            (f"{producer}|{check}", number)
            for number, recount in self._recounts.items()
            for producer, check in recount.over
            if is_exact(check)
        }
        for key, number in sorted(over ^ should):
            verb = "is" if (key, number) in over else "is not"
            self._findings.mismatch(f"data-quality {self._topic}[{number}]: {key} {verb} beyond its limit, by mistake")
        since = {key: at for key, at in state.get("since", {}).items() if is_exact(key)}
        expected = {
            f"{number}|{producer}|{check}": at
            for number, recount in self._recounts.items()
            for (producer, check), at in recount.since.items()
            if is_exact(check)
        }
        if since != expected:
            self._findings.mismatch(f"data-quality {self._topic}: beyond limits since {since}, should be {expected}")

    def alerts(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Compare the alerts with what went beyond its limit."""
        findings = self._findings
        crossings = {self._name(one): one for recount in self._recounts.values() for one in recount.crossings}
        for name, times in Counter(alert["alert_id"] for alert in alerts).items():
            if times > 1:
                findings.mismatch(f"alert {name} was published {times} times")
        told = set()
        for alert in alerts:
            if alert["detector"] == "distinct":
                self._check_distinct(alert)
            elif alert["detector"] in _SHARES - {"duplicate"}:
                findings.alerts += 1
                crossing = crossings.get(alert["alert_id"])
                if crossing is None:
                    findings.mismatch(f"alert {alert['alert_id']}: no record went beyond a limit there")
                    continue
                told.add((crossing.producer, crossing.check))
                for field_ in ("statistic", "current", "threshold", "reference"):
                    if not math.isclose(alert[field_], getattr(crossing, field_), rel_tol=_CLOSE, abs_tol=_CLOSE):
                        value = getattr(crossing, field_)
                        findings.mismatch(f"alert {alert['alert_id']}: {field_} is {alert[field_]}, should be {value}")
        for crossing in crossings.values():
            if (crossing.producer, crossing.check) not in told and not crossing.check.endswith(_DUPLICATE):
                findings.mismatch(f"alert {self._name(crossing)} is missing")

    def _name(self, one: Crossing) -> str:
        column, _, kind = one.check.rpartition(":")
        monitor = f"{column or self._topic}:{kind}" + (f":{one.producer}" if one.producer else "")
        return f"{self._topic}-{one.partition}-{one.offset}:{monitor}"

    def _check_distinct(self, alert: Mapping[str, Any]) -> None:
        recount = self._recounts.get(alert["partition"])
        producer = alert["alert_id"].partition(f":{alert['monitor']}:distinct")[2].removeprefix(":")
        numbers = {} if recount is None else recount.complete.get((alert["offset"], producer), {})
        number = max(numbers.get(alert["monitor"], -1), 1) if numbers else None
        self._findings.alerts += 1
        if number is None or not _fits(alert["current"], number, max(1 << (self._window - 1).bit_length(), 1_024)):
            self._findings.mismatch(
                f"alert {alert['alert_id']}: about {alert['current']:.0f} different values, should be {number}"
            )


def _late_for(hour: int, timed: Sequence[tuple[int, Raw]]) -> int:
    """How many events of an hour may have come when it was complete: after one that ended it, wherever that was."""
    ends_ms = (hour + 1) * _HOUR_MS + _GRACE_MS
    ended = [(number, raw) for number, raw in timed if (raw.time or 0) >= ends_ms]
    first_at = min((raw.timestamp for _, raw in ended), default=math.inf)
    first_of: dict[int, int] = {}
    for number, raw in ended:
        first_of[number] = min(first_of.get(number, raw.offset), raw.offset)
    return sum(
        raw.timestamp >= first_at or raw.offset > first_of.get(number, raw.offset)
        for number, raw in timed
        if (raw.time or 0) // _HOUR_MS == hour
    )


def _without_ids(value: Any) -> Any:
    """Counts without those of ids that came before, which a sketch tells."""
    if not isinstance(value, Mapping):
        return value
    return {name: of for name, of in value.items() if name != _DUPLICATE}


def _estimate(bits_set: int, bits: int) -> float:
    """By linear counting (Whang, Vander-Zanden and Taylor, ACM TODS 1990)."""
    return -bits * math.log(max(bits - bits_set, 1) / bits)


def _fits(estimate: float, number: int, bits: int) -> bool:
    """Whether an estimate is within six standard errors of linear counting (as above, theorem 4.1)."""
    load = number / bits
    return abs(estimate - number) <= 2 + _SIGMAS * math.sqrt(bits * max(math.exp(load) - load - 1, 0.0))


def _alerts_by_topic(records: Iterable[Record]) -> dict[str, list[dict[str, Any]]]:
    """The alerts of data quality; what is no alert, check_drift tells."""
    decoder = record_decoder("drift_alert")
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        try:
            alert = decoder.decode(record.value or b"")
        except (Undecodable, UnknownSchema):
            continue
        if alert["detector"] in _SHARES or alert["detector"] == "distinct":
            found[alert["topic"]].append(alert)
    return found
