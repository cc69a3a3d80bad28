"""Kafka for all components: access and logins, topics, reading, lag, and the transactional producer.

This package does not depend on pipelines: names and records are plain values.
"""
