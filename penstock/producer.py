"""For upstream services: send events that are valid under their contract.

::

    from penstock.producer import EventProducer, KafkaAccess

    with EventProducer(Payment, "events.payment", kafka=KafkaAccess(bootstrap="kafka:9092"), key="card") as producer:
        producer.send(Payment(...))

``docs/concepts/contracts.md`` says what makes an event valid.
"""

from penstock.kafka.access import KafkaAccess, PasswordLogin, TokenLogin
from penstock.tls import Tls
from schemas.producer import DeliveryFailed, EventProducer, InvalidEvent

__all__ = ["DeliveryFailed", "EventProducer", "InvalidEvent", "KafkaAccess", "PasswordLogin", "Tls", "TokenLogin"]
