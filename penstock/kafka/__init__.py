"""Kafka for every part: access and logins, topics, reading, lag, and the transactional producer.

Nothing here knows pipelines: names and records are plain values.
"""
