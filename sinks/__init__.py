"""Sinks carry the records of a pipeline from Kafka to its stores.

- ``store_interface``       what a sink needs from a store, and what a store module declares
- ``stores``                the stores, one module each: Redis and Cassandra
- ``store_registry``        finds the stores
- ``archive``               keeps topics as Parquet files, with a loop of its own
- ``runner``                consumes, writes, and commits offsets once the store has acknowledged
- ``batch``                 records that were consumed together, and how they are decoded
- ``write_queue``           writes batches, several at once, and gives them back in their order
- ``kafka_errors``          which of Kafka's errors end a sink, and how the others are reported
- ``rewind``                sets a sink back to the start of its topics
- ``feature_batches``       decodes many feature records at once
- ``emitted_vectors``       the vectors in one feature record, and which of two is newer
- ``vector_format``         the bytes of a vector in the online store, and the values that they give at a given time
- ``vector_columns``        the vectors of many entities as columns
- ``feature_reader``        reads vectors from Redis
- ``cassandra_tables``      the tables of the history, and their rows
- ``cassandra_rows``        these rows in CQL's binary form
- ``cassandra_requests``    which rows share a request, and how many requests are on their way
- ``dead_letter_producer``  publishes records that cannot be decoded
- ``sink_metrics``          the metrics of a sink

A record is written at least once, and writing it again changes nothing. Only ``stores`` and ``feature_reader`` connect
to a store, only ``runner``, ``rewind``, ``dead_letter_producer`` and ``archive.service`` to Kafka. The command line is
elsewhere, in ``penstock.commands.sink`` and ``penstock.commands.archive``.
"""
