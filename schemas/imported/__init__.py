"""Contracts from schemas that teams have already: Avro, JSON Schema, Protobuf.

A reader per kind of schema gives its fields (:mod:`schemas.imported.fields`); :mod:`schemas.imported.build` makes them
a contract. Nothing here imports :mod:`schemas.contract`, whose class has the methods of :mod:`schemas.imported.entry`.
"""
