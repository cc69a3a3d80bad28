"""The profile of features: what their values are, how they change over time, and what they are worth for the label.

``statistics`` and ``bins`` are pure. ``counting`` reads Parquet in batches and keeps only counts and a sample,
``measured`` turns counts into a profile, ``findings`` into sentences, and ``page`` into one HTML page.
"""
