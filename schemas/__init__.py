"""Event contracts, Penstock's own records, and the encoding of both.

Lives here: contracts and their Avro form, the codec, compatibility rules, the committed schemas (``committed`` for a
pipeline's, ``history`` for Penstock's own records), dead letters and the event producer. The definition language may
not be imported here.
"""
