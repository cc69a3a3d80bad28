"""Labels: where the true outcomes of events come from, when they are final, and when nobody can see them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from schemas.contract import Contract, Role, contract_fields, field_with_role
from streams.definitions.base import Definition, Name, Topic
from streams.definitions.windows import Duration

Task = Literal["binary", "regression", "multiclass"]
Absent = Literal["negative", "excluded"]


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
    """

    topic: Topic
    contract: type[Contract]
    value: Name
    task: Task = "binary"
    positive: str | int | None = None
    horizon: Duration | None = None
    absent: Absent | None = None
    hidden_by: str | None = None

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
    def _value_is_a_label(self) -> Self:
        kinds = {field.name: field.type for field in contract_fields(self.contract)}
        has_id = field_with_role(self.contract, Role.EVENT_ID) is not None
        allowed, described = _LABEL_TYPES[self.task]
        if not has_id or kinds.get(self.value) not in allowed:
            raise ValueError(
                f"labels of {self.contract.contract_name} cannot be joined: they need an EVENT_ID, and a field "
                f"{self.value!r} that is {described}; the contract has {', '.join(kinds)}"
            )
        if (self.positive is not None) != (self.task == "multiclass"):
            raise ValueError(
                "positive names the class whose probability is the score, of task='multiclass' and no other"
            )
        return self


_LABEL_TYPES: dict[Task, tuple[tuple[str, ...], str]] = {
    "binary": (("boolean", "long", "double"), "a boolean or a number (0 or 1)"),
    "regression": (("long", "double"), "a number"),
    "multiclass": (("string", "long"), "a text or an integer"),
}
