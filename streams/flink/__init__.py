"""The feature job on Flink.

``lifecycle`` starts, stops and shows a job, ``upgrade`` gives it other definitions or another parallelism, ``submit``
hands it to Flink, ``rest`` is Flink's REST interface. ``job_graph`` alone needs PyFlink: it runs in the *jobs*
environment and gets all it needs as a ``submission``.
"""
