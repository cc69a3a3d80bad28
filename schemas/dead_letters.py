"""Dead letters: refused records, kept verbatim, with origin and reason in their headers.

A letter that its topic would not take has an excerpt instead; the header ``penstock.value.bytes`` then says how long
the value was.

The header names are those of Kafka Connect, so tools made for it work here. A message never quotes a value of the
event: people who may not see personal data read dead-letter topics. Pipelines that read one topic share its dead-letter
topic: each letter names the pipeline that refused the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from penstock.kafka.records import MAX_RECORD_BYTES, Produced

PREFIX = "__connect.errors."
TOPIC = PREFIX + "topic"
PARTITION = PREFIX + "partition"
OFFSET = PREFIX + "offset"
PIPELINE = PREFIX + "connector.name"
STAGE = PREFIX + "stage"
COMPONENT = PREFIX + "class.name"
REASON = PREFIX + "exception.class.name"
MESSAGE = PREFIX + "exception.message"
VALUE_BYTES = "penstock.value.bytes"
NAMES = (TOPIC, PARTITION, OFFSET, PIPELINE, STAGE, COMPONENT, REASON, MESSAGE)

REPLAY_OF = "penstock.replay.of"
REPLAY_COUNT = "penstock.replay.count"
_SOURCE = "penstock.source."

EXCERPT_BYTES = 16 * 1024
_MOST_DIGITS = 9

Headers = Sequence[tuple[str, bytes | None]]


def is_replayed(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether a record was made by a replay of dead letters, by its headers."""
    return any(name == REPLAY_OF for name, _ in headers)


@dataclass(frozen=True)
class DeadLetter:
    """A record that was refused.

    Args:
        topic: The topic from which the record was read.
        partition: The record's partition on that topic.
        offset: The record's offset in that partition.
        pipeline: The pipeline that refused the record; None in letters of releases that did not name it.
        stage: The step that failed: ``decode``, ``validate``, ``encode`` or ``score``.
        component: The component that refused the record, such as ``penstock.job`` or ``penstock.scorer``.
        reason: The reason's class, such as ``penstock.InvalidField``.
        message: An explanation for people; may name fields but never quotes their values.
        key: The record's key, verbatim.
        value: The record's value, verbatim unless ``value_bytes`` is set; None for a tombstone.
        original_headers: The record's own headers, verbatim and in order.
        value_bytes: The length of the whole value, if the letter has an excerpt of it; else None. Then the key or the
            record's own headers may be missing, too.
    """

    topic: str
    partition: int
    offset: int
    pipeline: str | None
    stage: str
    component: str
    reason: str
    message: str
    key: bytes | None = None
    value: bytes | None = None
    original_headers: Headers = ()
    value_bytes: int | None = None

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Return the headers to publish: the record's own, then Penstock's."""
        texts = (
            self.topic,
            str(self.partition),
            str(self.offset),
            self.pipeline,
            self.stage,
            self.component,
            self.reason,
            self.message,
        )
        return [
            *self.original_headers,
            *((name, text.encode()) for name, text in zip(NAMES, texts, strict=True) if text is not None),
            *([] if self.value_bytes is None else [(VALUE_BYTES, str(self.value_bytes).encode())]),
        ]

    def excerpt(self) -> DeadLetter:
        """Return the letter with the first 16 KiB of the value, for a topic that does not take it whole."""
        value = self.value or b""
        if len(value) <= EXCERPT_BYTES:
            return self
        return replace(self, value=value[:EXCERPT_BYTES], value_bytes=len(value))

    def bare(self) -> DeadLetter:
        """Return the excerpt without key and headers of the record, which may be as long as its value."""
        length = len(self.value or b"") if self.value_bytes is None else self.value_bytes
        return replace(self.excerpt(), key=None, original_headers=(), value_bytes=length)

    def forms(self) -> tuple[DeadLetter, ...]:
        """Return the letter, its excerpt and its bare form: the first that its topic takes is published."""
        excerpt = self.excerpt()
        return (self, self.bare()) if excerpt is self else (self, excerpt, self.bare())

    @property
    def replay(self) -> tuple[str, int] | None:
        """The place of the letter that the record was a replay of, and how often it had been replayed, as it says.

        None if it says nothing. Anybody who writes to the record's topic can write these headers.
        """
        found = dict(self.original_headers)
        of, count = found.get(REPLAY_OF) or b"", found.get(REPLAY_COUNT) or b""
        if not (of and count.isdigit() and len(count) <= _MOST_DIGITS):
            return None
        return of.decode(errors="replace"), int(count)

    def replayed(self, place: str, count: int) -> DeadLetter:
        """Return the letter with the headers that its record has when it is replayed: its own, then the replay's.

        Args:
            place: The letter's own ``topic[partition]@offset``.
            count: How often the record has been replayed, this time included.
        """
        of_refusal = (REPLAY_OF, REPLAY_COUNT)
        kept = [each for each in self.original_headers if each[0] not in of_refusal and not each[0].startswith(_SOURCE)]
        replay = [(REPLAY_OF, place.encode()), (REPLAY_COUNT, str(count).encode())]
        return replace(self, original_headers=(*kept, *replay))

    def record(self, topic: str, timestamp: int, max_bytes: int, more_headers: Headers = ()) -> Produced:
        """Return the letter's record for a dead-letter topic, in the first form that fits.

        Args:
            topic: The dead-letter topic.
            timestamp: Epoch milliseconds.
            max_bytes: The bytes of the longest record that the topic takes. The producer may take less.
            more_headers: Headers that follow the letter's own.
        """
        origin = f"{self.topic}[{self.partition}]@{self.offset}"
        records = (
            Produced(topic, form.partition, form.key, form.value, [*form.headers(), *more_headers], timestamp, origin)
            for form in self.forms()
        )
        for record in records:
            if record.bytes <= min(max_bytes, MAX_RECORD_BYTES):
                break
        return record

    @classmethod
    def read(cls, key: bytes | None, value: bytes | None, headers: Headers | None) -> DeadLetter:
        """Return the dead letter in a record of a dead-letter topic.

        A record that was replayed and refused again has two sets of headers. The last set describes this dead letter;
        the earlier ones belong to the original record. A set begins with the topic.

        Raises:
            ValueError: if a header is missing: the record is not a dead letter of Penstock.
        """
        given = list(headers or ())
        begin = max((i for i, (name, _) in enumerate(given) if name == TOPIC), default=len(given))
        own = (*NAMES, VALUE_BYTES)
        texts = {name: (value or b"").decode() for name, value in given[begin:] if name in own}
        for name in NAMES:
            if name not in texts and name != PIPELINE:
                raise ValueError(f"not a dead letter: header {name} is missing")
        return cls(
            topic=texts[TOPIC],
            partition=int(texts[PARTITION]),
            offset=int(texts[OFFSET]),
            pipeline=texts.get(PIPELINE),
            stage=texts[STAGE],
            component=texts[COMPONENT],
            reason=texts[REASON],
            message=texts[MESSAGE],
            key=key,
            value=value,
            original_headers=(*given[:begin], *(header for header in given[begin:] if header[0] not in own)),
            value_bytes=int(texts[VALUE_BYTES]) if VALUE_BYTES in texts else None,
        )
