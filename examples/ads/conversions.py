"""The same impressions and features, and another question: does this impression lead to an order within three days?

``python -m examples.play ads-conversions`` sends the messages of the same world with these labels. One order in six
comes later than the horizon: it is an order for the windows, and none for the model.
"""

from __future__ import annotations

from typing import Annotated

from examples.ads.pipeline import Id, Time
from examples.ads.pipeline import pipeline as clicks
from penstock import EVENT_ID, Contract, Labels


class ConversionLabel(Contract, name="conversion_label", version=1):
    """An impression led to an order. Nobody says that one did not."""

    impression_id: Annotated[Id, EVENT_ID]
    label_time: Time
    is_converted: bool


pipeline = clicks.model_copy(
    update={
        "model": clicks.model.model_copy(update={"threshold": 0.005}),
        "labels": Labels(
            topic="labels.conversions",
            contract=ConversionLabel,
            value="is_converted",
            horizon="3d",
            absent="negative",
        ),
    }
)
