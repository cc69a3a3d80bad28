"""Contracts and records: what may enter, what leaves, and how both are written on the wire.

``avro/`` holds the committed Avro schema of every contract version, for producers in any language.
"""
