"""The feature job on Flink.

``lifecycle`` starts, stops and shows a job. ``upgrade`` replaces its definitions or its parallelism. ``submit`` submits
it to Flink. ``rest`` is the client of Flink's REST interface. Only ``job_graph`` needs PyFlink: it runs in the *jobs*
environment, and its whole input is a ``submission``.
"""
