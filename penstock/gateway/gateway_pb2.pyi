from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AskRequest(_message.Message):
    __slots__ = ("pipeline", "event", "deadline_ms")
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    pipeline: str
    event: bytes
    deadline_ms: int
    def __init__(self, pipeline: _Optional[str] = ..., event: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("pipeline", "event_id")
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    pipeline: str
    event_id: str
    def __init__(self, pipeline: _Optional[str] = ..., event_id: _Optional[str] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("event_id", "decision", "score", "model", "model_version", "source", "reason", "waited_ms")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WAITED_MS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    decision: str
    score: float
    model: str
    model_version: str
    source: str
    reason: str
    waited_ms: float
    def __init__(self, event_id: _Optional[str] = ..., decision: _Optional[str] = ..., score: _Optional[float] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., source: _Optional[str] = ..., reason: _Optional[str] = ..., waited_ms: _Optional[float] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("event_time", "decision", "score", "model", "model_version", "scored_at")
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCORED_AT_FIELD_NUMBER: _ClassVar[int]
    event_time: int
    decision: str
    score: float
    model: str
    model_version: str
    scored_at: int
    def __init__(self, event_time: _Optional[int] = ..., decision: _Optional[str] = ..., score: _Optional[float] = ..., model: _Optional[str] = ..., model_version: _Optional[str] = ..., scored_at: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "stage", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    stage: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., stage: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Known(_message.Message):
    __slots__ = ("event_id", "answer", "prediction", "refusal")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    answer: Answer
    prediction: Prediction
    refusal: Refusal
    def __init__(self, event_id: _Optional[str] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., prediction: _Optional[_Union[Prediction, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...
