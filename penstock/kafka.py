"""What Kafka clients of short commands have in common."""

# Only what is fatal is logged: an error says it once, where librdkafka would say it twenty times a second.
QUIET: dict[str, str | int] = {"log_level": 2}
