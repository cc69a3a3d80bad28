"""What has become of a pipeline's labels: how many events have one, how late they came, and whether that has changed.

:mod:`backfill.label_status.reading` reads events and labels as columns, :mod:`backfill.label_status.status` is pure.
"""
