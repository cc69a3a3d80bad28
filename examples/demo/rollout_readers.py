"""Reads how a rollout goes on during the demo: the policy from its log, and the guardrails from the controller."""

from __future__ import annotations

import math
from typing import NamedTuple

import httpx
from confluent_kafka import Consumer
from prometheus_client.parser import text_string_to_metric_families

from examples.demo.output_readers import reader_settings, values_of
from penstock.kafka.access import KafkaAccess
from scoring.rollout.policy_log import Marker, PolicyChange, decode
from streams.definitions.pipeline import Pipeline

_BATCH = 500
_TIMEOUT_S = 1.0
_FIELDS = {
    "guardrail_low": "low",
    "guardrail_high": "high",
    "guardrail_bound_low": "least",
    "guardrail_bound_high": "most",
}
_PREFIX = "penstock_rollout_"


class PolicyReader:
    """Reads the log of a pipeline's rollouts at each :meth:`poll`; ``present`` is the latest change, None at first."""

    def __init__(self, kafka: KafkaAccess, pipeline: Pipeline) -> None:
        self.present: PolicyChange | None = None
        self._partitions = pipeline.source.partitions
        self._followed: dict[int, str] = {}
        self._topic = pipeline.rollout_log_topic
        self._consumer = Consumer(reader_settings(kafka))
        self._consumer.subscribe([self._topic])

    @property
    def is_followed(self) -> bool:
        """Whether every partition has taken the present policy up."""
        if self.present is None:
            return False
        policy = self.present.policy.hash
        return sum(followed == policy for followed in self._followed.values()) == self._partitions

    def poll(self) -> None:
        """Read what has arrived; does not wait."""
        for value in values_of(self._consumer.consume(_BATCH, 0.0)):
            entry = decode(value, self._topic)
            if isinstance(entry, PolicyChange):
                self.present = entry
            elif isinstance(entry, Marker):
                self._followed[entry.partition] = entry.policy

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


class Guardrail(NamedTuple):
    """What a guardrail says: the interval in which the measured value surely is, and its bounds, all from 0 on."""

    verdict: str
    low: float = 0.0
    high: float = math.inf
    least: float = 0.0
    most: float = math.inf


class GuardrailReader:
    """Reads the metrics page of a rollout controller at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)

    def read(self, step: int) -> dict[str, Guardrail]:
        """What each guardrail says of a rollout at this step; nothing if the page cannot be read or is of another."""
        try:
            return guardrails(self._client.get(self._url).raise_for_status().text, step)
        except httpx.HTTPError:
            return {}

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


def guardrails(page: str, step: int) -> dict[str, Guardrail]:
    """The guardrails on a controller's metrics page, by name; none if no rollout runs there, or at another step."""
    numbers: dict[str, dict[str, float]] = {}
    verdicts: dict[str, str] = {}
    for family in text_string_to_metric_families(page):
        name = family.name.removeprefix(_PREFIX)
        for sample in family.samples:
            if name == "status" and sample.labels["status"] == "running" and not sample.value:
                return {}
            if name == "step" and sample.value != step:
                return {}
            if name == "guardrail_verdict" and sample.value:
                verdicts[sample.labels["guardrail"]] = sample.labels["verdict"]
            elif name in _FIELDS:
                numbers.setdefault(sample.labels["guardrail"], {})[_FIELDS[name]] = sample.value
    return {name: Guardrail(verdict, **numbers.get(name, {})) for name, verdict in verdicts.items()}
