"""The stores, one module each, which declares a :class:`sinks.store_interface.StoreType` as ``STORE``.

A module holds the connection to its store and what is written there. It knows neither Kafka nor the command line.
"""
