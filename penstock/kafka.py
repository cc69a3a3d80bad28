"""How to reach Kafka, for every client of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

# Only what is fatal is logged: an error says it once, where librdkafka would say it twenty times a second.
QUIET: dict[str, str | int] = {"log_level": 2}


class KafkaAccess(BaseModel):
    """Where the brokers are and how to be let in; every Kafka client is made from one.

    ``str()`` of it names the brokers and no secret, for the ``where`` of errors.
    """

    model_config = ConfigDict(frozen=True)

    bootstrap: str

    def client(self) -> dict[str, str | int]:
        """The settings of a confluent-kafka client; add those of the use at hand."""
        return {"bootstrap.servers": self.bootstrap}

    def java(self) -> dict[str, str]:
        """The same for the Java clients inside Flink's Kafka connector."""
        return {"bootstrap.servers": self.bootstrap}

    def __str__(self) -> str:
        return self.bootstrap
