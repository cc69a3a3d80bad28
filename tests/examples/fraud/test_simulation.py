from collections import Counter
from datetime import timedelta
from itertools import islice

import pytest

from examples.fraud.simulation import DAY_MS, EUR_PER, START_MS, World, WorldConfig


def live(days, seed=5, **settings):
    return list(islice(World(seed, WorldConfig(**settings)).days(), days))


def eur(payment):
    return payment.amount * EUR_PER[payment.currency]


@pytest.fixture(scope="module")
def month():
    return live(30, drift_after=timedelta(days=24))


def test_each_day_has_its_own_payments_in_order_of_time(month):
    for number, day in enumerate(month):
        times = [payment.time_ms for payment in day]
        assert times == sorted(times)
        assert START_MS + number * DAY_MS <= times[0] <= times[-1] < START_MS + (number + 1) * DAY_MS


def test_a_day_has_about_a_thousand_payments(month):
    assert 900 < sum(map(len, month)) / len(month) < 1_200


def test_before_the_drift_there_are_three_scenarios(month):
    assert {p.scenario for day in month[:24] for p in day} == {None, "large", "terminal", "card"}


def test_after_the_drift_a_new_pattern_replaces_stolen_cards_online(month):
    # Bursts that were planned before the drift still take place.
    scenarios = Counter(p.scenario for day in month[29:] for p in day)
    assert "card" not in scenarios
    assert any(p.scenario == "relay" for day in month[24:] for p in day)


def test_drift_raises_amounts_and_the_share_bought_online():
    calm, drifted = live(1, drift_after=None)[0], live(1, drift_after=timedelta())[0]
    mean = [sum(map(eur, day)) / len(day) for day in (calm, drifted)]
    online = [sum(p.channel == "online" for p in day) / len(day) for day in (calm, drifted)]
    assert mean[1] > 1.2 * mean[0]
    assert online[1] > 1.3 * online[0]


def test_all_payments_at_a_compromised_terminal_are_fraudulent():
    payments = [p for day in live(10, new_compromised_terminals=3.0, new_stolen_cards=0.0) for p in day]
    begun, honest_after = {}, 0
    for payment in payments:
        if payment.scenario == "terminal":
            begun.setdefault(payment.terminal_id, payment.time_ms)
        elif payment.scenario is None and payment.terminal_id in begun:
            # The shortest compromise lasts seven days.
            honest_after += payment.time_ms < begun[payment.terminal_id] + 6 * DAY_MS
    assert len(begun) > 10
    assert honest_after == 0


def test_each_burst_with_stolen_card_data_is_of_one_card_and_one_device():
    payments = [p for day in live(5, new_stolen_cards=5.0) for p in day if p.scenario == "card"]
    devices = {}
    for payment in payments:
        assert payment.channel == "online"
        assert devices.setdefault(payment.device_id, payment.card_id) == payment.card_id
    assert len(payments) > 3 * len(devices)


def test_with_all_fraud_rates_at_zero_there_is_no_fraud():
    days = live(3, large_fraud_share=0.0, new_compromised_terminals=0.0, new_stolen_cards=0.0)
    assert {p.scenario for day in days for p in day} == {None}
