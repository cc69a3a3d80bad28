"""Fills new views of a running pipeline: their history first, then they take over.

A *fill* is a job beside the running one. It replays the history with the new views alone, publishes nothing, and keeps
their state. When it is near the running job, that one is stopped with a savepoint. The fill reads exactly to the
savepoint's positions, its state joins the savepoint, and the new job begins from both: with the state of all views as
of one set of positions. So no event is left out of a view, none is counted twice, and each has one feature record.
"""
