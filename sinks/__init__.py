"""Sinks: the latest vector of each entity in Redis, the history of vectors and predictions in Cassandra."""
