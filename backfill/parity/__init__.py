"""Parity: what was served, compared value by value with what is recomputed from the raw events.

:mod:`.raw` reads the raw events of the sampled entities, :mod:`.served` what the job published for them. :mod:`.kernel`
recomputes, :mod:`.orders` knows in which orders the job may have taken an entity's events, :mod:`.features` and
:mod:`.predictions` compare and find the cause of each difference. :mod:`.check` puts it together; only
:mod:`.kafka` and :mod:`.schedule` know Kafka and clocks.
"""
