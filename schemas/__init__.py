"""Contracts and records: what may enter, what leaves, and how both are written on the wire.

Nothing here knows the definition language. The committed schemas of a pipeline lie beside its file; ``committed``
compares and writes them.
"""
