"""The definition language: entities, sources, views, aggregates, SQL expressions, monitors; and loading a pipeline.

Definitions are immutable values that declare what is computed. How it is computed is up to ``plan`` and the
engines. Nothing here may access a topic or a store.
"""
