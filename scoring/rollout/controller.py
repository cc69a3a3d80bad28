"""The rollout controller: consumes what scorers answer and what labels say, and publishes what follows for the policy.

One process for each pipeline, one thread. It reads everything, gives it to the judge (:mod:`scoring.rollout.judge`),
and asks it whether a change is due. What the judge has seen is saved every few seconds, and at once with a change, each
time in one transaction with the offsets (:mod:`scoring.rollout.controller_store`).

Whoever else publishes a policy fences the controller's producer. It then begins again from what is committed: it reads
the present policy, its state and its offsets. As nothing can be committed after a policy was published by somebody
else, the records under that policy are all still to be read.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.lag import Partition
from penstock.kafka.lag_watch import LagWatch
from penstock.kafka.transactions import InstanceFencedError, OutcomeUnknownError, TransactionAbortedError
from scoring.rollout.completeness import Completeness, Cut
from scoring.rollout.controller_metrics import ControllerMetrics, decision_between
from scoring.rollout.controller_positions import Positions, Starts
from scoring.rollout.controller_reading import ControllerReader, Observed
from scoring.rollout.controller_store import ControllerStore, Kept, Note
from scoring.rollout.judge import GuardrailReport
from scoring.rollout.judge_state import JudgeState
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.promotion import Promotions
