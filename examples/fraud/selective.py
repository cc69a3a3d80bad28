"""The fraud pipeline at a bank that declines: of a declined payment, nobody ever learns what it was.

``python -m examples.play fraud-selective`` sends the messages of this world. A cardholder notices a fraud days after an
honest payment is known to be one, and frauds that are approved are the ones that the issuer's rules do not know.
"""

from examples.fraud.delivery import FraudConfig, LabelDelay
from examples.fraud.issuer import Issuer
from examples.fraud.pipeline import FraudLabel
from examples.fraud.pipeline import pipeline as fraud
from examples.fraud.simulation import DAY_MS, HOUR_MS, WorldConfig
from penstock import Labels

WORLD = FraudConfig(
    world=WorldConfig(issuer=Issuer),
    honest_label=LabelDelay(mean_ms=24 * HOUR_MS, longest_ms=7 * DAY_MS),
    fraud_label=LabelDelay(mean_ms=72 * HOUR_MS, longest_ms=14 * DAY_MS),
)

pipeline = fraud.model_copy(
    update={
        "model": fraud.model.model_copy(update={"positive": "decline"}),
        "labels": Labels(
            topic="labels.fraud",
            contract=FraudLabel,
            value="is_fraud",
            horizon="14d",  # the longest that a cardholder may take
            absent="excluded",  # the issuer, or this pipeline before, declined it: it is no honest payment
            hidden_by="decline",
        ),
    }
)
