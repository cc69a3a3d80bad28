"""Begins a project from what a team has: infers the contract of events from rows or a schema, and writes the code.

What is inferred is pure (``columns``, ``findings``, ``schema``, ``roles``); only ``samples`` and ``folder`` read and
write.
"""
