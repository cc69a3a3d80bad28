"""How a user says what a model does not say of itself: options of a command, or arguments in Python; for messages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """The names of what is said, and how to say one of each."""

    null: str
    encoding: str
    keep: str
    an_output: str
    a_column: str
    a_null: str
    a_vocabulary: str
    some_buckets: str


OPTIONS = Wording(
    null="--null",
    encoding="--vocabulary or --buckets",
    keep="--keep",
    an_output="--output NAME",
    a_column="--column NUMBER",
    a_null="--null {name}=0",
    a_vocabulary="--vocabulary {name}=FILE",
    some_buckets="--buckets {name}=NUMBER",
)
ARGUMENTS = Wording(
    null="OnnxModel(nulls=)",
    encoding="OnnxModel(vocabularies=) or OnnxModel(buckets=)",
    keep="OnnxModel(keep=)",
    an_output="OnnxModel(..., output=NAME)",
    a_column="OnnxModel(..., column=NUMBER)",
    a_null='OnnxModel(..., nulls={{"{name}": 0}})',
    a_vocabulary='OnnxModel(..., vocabularies={{"{name}": TEXTS}})',
    some_buckets='OnnxModel(..., buckets={{"{name}": NUMBER}})',
)
