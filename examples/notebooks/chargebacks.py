"""The fraud pipeline at a bank that only hears of frauds: nothing ever says that a payment was honest."""

from examples.fraud.pipeline import FraudLabel
from examples.fraud.pipeline import pipeline as fraud
from penstock import Labels

labels = Labels(
    topic="labels.fraud",
    contract=FraudLabel,
    value="is_fraud",
    horizon="7d",  # a week after the payment, its label is final
    absent="negative",  # no chargeback until then: the payment was honest
)
pipeline = fraud.model_copy(update={"labels": labels})
