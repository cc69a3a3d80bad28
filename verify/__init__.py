"""The verifier: checks a run, end to end, against the oracle and the raw topics.

It reads what the run left in Kafka, Redis, Cassandra and Parquet, and changes nothing.
"""
