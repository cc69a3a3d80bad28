"""Features: definitions, the planner, the reference semantics, the PyFlink job and its JVM window kernel.

Definitions, plan and reference are pure and import no Kafka or Flink; ``job`` is the only module that needs PyFlink.
"""
