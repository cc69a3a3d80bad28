"""Sinks: the latest vector of each entity in Redis, the history of vectors and predictions in Cassandra.

``vectors`` and ``emissions`` are pure: what a stored vector is, how it reads at a time, which of two is newer.
``runner`` consumes, waits for the store, and only then commits; ``redis_sink`` and ``cassandra_sink`` are its stores.
"""
