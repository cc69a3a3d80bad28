"""Labels: where the true outcomes of events come from, when they are final, and when nobody can see them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from schemas.contract import Contract, Role, contract_fields, field_with_role
from schemas.envelopes import in_envelope
from streams.definitions.base import Definition, Name, Topic
from streams.definitions.windows import Duration

Task = Literal["binary", "regression", "multiclass"]
Absent = Literal["negative", "excluded"]


class LabelSource(Definition):
    """A further topic of labels, whose label counts where no source before it has one.

    Args:
        topic: The topic.
        contract: Its contract, with an EVENT_ID and an EVENT_TIME as in :class:`Labels`.
        value: The field with the label, of the task that :class:`Labels` declares.
        of: As in :class:`Labels`.
    """

    topic: Topic
    contract: type[Contract]
    value: Name
    of: Name | None = None

    @property
    def id_prefix(self) -> str:
        """What the ids of the events of these labels begin with, before what the labels call them."""
        return "" if self.of is None else f"{self.of}:"


class Labels(Definition):
    """The topic of labels, which arrive later than their events.

    In its contract, EVENT_ID is the id of the labelled event, and EVENT_TIME is the time at which the label became
    known. What ``value`` is depends on the ``task``:

    - ``binary``: a boolean field, or a number that is 0 or 1. The score is the probability of 1.
    - ``regression``: a number. The score is its predicted value.
    - ``multiclass``: a text or an integer, the class. The score is the probability of the class ``positive``.

    Args:
        topic: The topic of the labels.
        contract: Their contract.
        value: The field with the label.
        task: What the value is.
        positive: The class whose probability is the score, of several classes.
        horizon: How long after its event a label may come. Then it is final: later labels do not count, and an event
            is in a training set only once it is that old. None: every label that is known counts, at any age.
        absent: What no label means after the horizon: ``negative`` (of a binary task: the event is of class 0) or
            ``excluded`` (nothing is known of the event). None: labels are expected for all events, and training sets
            are refused if fewer than 95 % of the old enough events have one.
        hidden_by: The decision after which the outcome cannot be seen, such as ``decline``. None: there is none.
        otherwise: Further sources. Of several labels of an event, that of the first source counts, then those of these
            in their order, whatever comes first. A label that its source has withdrawn does not stand in the way. All
            else is declared once, for all sources.
        of: The name of the contract whose events the ids are of, where that is not the contract of the pipeline's own
            source: then ids of events begin with it (``click:7f3a``), and labels need not.
    """

    topic: Topic
    contract: type[Contract]
    value: Name
    task: Task = "binary"
    positive: str | int | None = None
    horizon: Duration | None = None
    absent: Absent | None = None
    hidden_by: str | None = None
    otherwise: tuple[LabelSource, ...] = ()
    of: Name | None = None

    @property
    def sources(self) -> tuple[LabelSource, ...]:
        """All sources, in the order in which their labels count."""
        first = LabelSource(topic=self.topic, contract=self.contract, value=self.value, of=self.of)
        return (first, *self.otherwise)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of all sources, in the same order."""
        return (self.topic, *(source.topic for source in self.otherwise))

    @model_validator(mode="after")
    def _absence_means_something(self) -> Self:
        if self.absent is not None and self.horizon is None:
            raise ValueError(
                "absent says what no label means once labels are final: add horizon=, after which none comes"
            )
        if self.absent == "negative" and self.task != "binary":
            raise ValueError(
                f"absent='negative' is for task='binary': no label is no value and no class of task={self.task!r}; "
                "use absent='excluded'"
            )
        return self

    @model_validator(mode="after")
    def _values_are_labels(self) -> Self:
        first, *others = (_check_value(source, self.task) for source in self.sources)
        for source, kind in zip(self.otherwise, others, strict=True):
            if self.task == "multiclass" and kind != first:
                raise ValueError(
                    f"labels of {source.topic} and {self.topic} have no class in common: {source.value} is a {kind}, "
                    f"{self.value} is a {first}"
                )
        if len({*self.topics}) < len(self.topics):
            raise ValueError(f"labels name a topic twice, of {', '.join(self.topics)}: each is one source")
        if (self.positive is not None) != (self.task == "multiclass"):
            raise ValueError(
                "positive names the class whose probability is the score, of task='multiclass' and no other"
            )
        return self


def _check_value(source: LabelSource, task: Task) -> str | None:
    """The type of a source's labels.

    Raises:
        ValueError: if they cannot be labels of the task.
    """
    if around := in_envelope(source.contract):
        raise ValueError(
            f"labels of {source.contract.contract_name}: {around[0].name} is in an envelope, and labels are read "
            "without one; give the way in the record: At(...)"
        )
    kinds = {field.name: field.type for field in contract_fields(source.contract)}
    has_id = field_with_role(source.contract, Role.EVENT_ID) is not None
    allowed, described = _LABEL_TYPES[task]
    if not has_id or kinds.get(source.value) not in allowed:
        raise ValueError(
            f"labels of {source.contract.contract_name} cannot be joined: they need an EVENT_ID, and a field "
            f"{source.value!r} that is {described}; the contract has {', '.join(kinds)}"
        )
    return kinds[source.value]


_LABEL_TYPES: dict[Task, tuple[tuple[str, ...], str]] = {
    "binary": (("boolean", "long", "double"), "a boolean or a number (0 or 1)"),
    "regression": (("long", "double"), "a number"),
    "multiclass": (("string", "long"), "a text or an integer"),
}
