"""Dead letters of a pipeline: what there is, and replaying it exactly once.

:mod:`~backfill.dead_letters.lanes` says which letters go which way, :mod:`~backfill.dead_letters.replay` moves them in
transactions; the other modules are the ways.
"""
