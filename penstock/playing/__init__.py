"""Feeds files to the topics that a pipeline reads: in event order, at the pace of the events or at a rate."""
