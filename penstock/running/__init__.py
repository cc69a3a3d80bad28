"""A pipeline as one thing: its parts, the supervisor that runs them, and what a screen shows of it.

The parts are ``penstock`` commands in processes of their own; nothing here does their work, and all that is measured is
read from Kafka, Flink and their metrics pages. So a pipeline that was started otherwise is shown just as well.
"""
