"""The world in which an issuer declines: labels that never come, delays by class, and fraudsters who move on."""

from __future__ import annotations

from itertools import islice
from statistics import mean

import pytest

from examples.fraud.delivery import messages
from examples.fraud.issuer import Issuer
from examples.fraud.pipeline import FraudLabel
from examples.fraud.pipeline import pipeline as fraud
from examples.fraud.selective import WORLD, pipeline
from examples.fraud.simulation import DAY_MS, START_MS, Transaction, World, WorldConfig
from schemas.avro import contract_schema
from schemas.codec import Decoder

SEED, DAYS = 7, 20


def lived(config: WorldConfig, days: int = DAYS) -> list[Transaction]:
    return [payment for day in islice(World(SEED, config).days(), days) for payment in day]


@pytest.fixture(scope="module")
def payments() -> list[Transaction]:
    return lived(WORLD.world)


@pytest.fixture(scope="module")
def labels(payments: list[Transaction]) -> dict[str, FraudLabel]:
    """The label of each payment that has one, by id."""
    decoder = Decoder(contract_schema(FraudLabel))
    sent = (message for message in messages(SEED, len(payments), WORLD) if message.kind == "label")
    found = [FraudLabel.model_validate(decoder.decode(message.value or b"")) for message in sent]
    return {label.transaction_id: label for label in found}


def identified(payments: list[Transaction]) -> list[tuple[str, Transaction]]:
    return [(f"tx-{number:08d}", payment) for number, payment in enumerate(payments, 1)]


def test_the_same_seed_declines_alike(payments: list[Transaction]) -> None:
    assert lived(WORLD.world) == payments


def test_of_a_declined_payment_no_label_comes_and_of_each_approved_one_the_true_one(
    payments: list[Transaction], labels: dict[str, FraudLabel]
) -> None:
    approved = {name: payment.scenario is not None for name, payment in identified(payments) if not payment.declined}
    assert {name: label.is_fraud for name, label in labels.items()} == approved
    assert len(approved) < len(payments)


def test_an_issuer_stops_some_of_each_kind_of_fraud_and_few_honest_payments(payments: list[Transaction]) -> None:
    def declined(scenario: str | None) -> float:
        return mean(payment.declined for payment in payments if payment.scenario == scenario)

    assert all(declined(scenario) > 0.1 for scenario in ("large", "terminal", "card"))
    assert declined(None) < 0.02


def test_some_that_the_rules_would_decline_are_approved_by_chance() -> None:
    first = lived(WORLD.world, 1)[0]
    often = [
        Transaction(
            **{name: getattr(first, name) for name in Transaction.__slots__ if name != "time_ms"},
            time_ms=START_MS + number,
        )
        for number in range(1_000)
    ]
    decline = Issuer(SEED)
    assert 0.9 < mean(decline(payment) for payment in often) < 0.99


def test_frauds_are_known_later_than_honest_payments_and_all_by_the_horizon(
    payments: list[Transaction], labels: dict[str, FraudLabel]
) -> None:
    delays: dict[bool, list[int]] = {True: [], False: []}
    for name, payment in identified(payments):
        if name in labels:
            delays[labels[name].is_fraud].append(labels[name].label_time - payment.time_ms)
    assert mean(delays[True]) > 2 * mean(delays[False])
    assert pipeline.labels is not None
    assert pipeline.labels.horizon is not None
    assert max(delays[True] + delays[False]) <= pipeline.labels.horizon


def test_fraudsters_leave_a_terminal_that_declines_and_go_on_at_another() -> None:
    config = {"new_compromised_terminals": 1.0, "large_fraud_share": 0.0, "new_stolen_cards": 0.0}

    def decline_all(_seed: int) -> object:
        return lambda payment: payment.scenario == "terminal"

    def days_at(payments: list[Transaction]) -> tuple[float, int]:
        """For how many days a terminal has frauds, on average, and how many terminals have."""
        days: dict[str, set[int]] = {}
        for payment in payments:
            if payment.scenario == "terminal":
                days.setdefault(payment.terminal_id, set()).add((payment.time_ms - START_MS) // DAY_MS)
        return mean(map(len, days.values())), len(days)

    left = days_at(lived(WorldConfig(**config, issuer=decline_all)))  # type: ignore[arg-type]
    stayed = days_at(lived(WorldConfig(**config)))  # type: ignore[arg-type]
    assert left[0] < stayed[0] / 2
    assert left[1] > stayed[1]


def test_without_an_issuer_nothing_is_declined() -> None:
    assert not any(payment.declined for payment in lived(WorldConfig(), 3))


def test_only_labels_and_the_name_of_a_decision_differ_from_the_pipeline_that_sees_all() -> None:
    kept = {"model": fraud.model, "labels": fraud.labels}
    assert pipeline.model_copy(update=kept) == fraud
    assert pipeline.model.model_copy(update={"positive": "review"}) == fraud.model
    assert type(pipeline).model_validate(dict(pipeline)) == pipeline
