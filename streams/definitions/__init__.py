"""The definition language: entities, sources, views, aggregates, SQL expressions, monitors, and loading a pipeline.

Definitions are immutable values. They say what is computed, never how; nothing here reads a topic or a store.
"""
