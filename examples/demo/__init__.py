"""The demo: both example pipelines on a local stack of their own, from raw events to verified predictions.

It runs the same commands as an operator (``penstock job start``, ``penstock sink run``, ...). ``pipeline_demo`` holds
the steps and ``command_runner`` runs the commands. ``producer`` sends the events, ``output_readers`` reads predictions
and alerts, ``consumer_lag`` and ``job_progress`` measure lag. ``timeline`` records the measurements, ``screen`` shows
them, ``summary`` prints the result.

The report: ``evidence`` reads the topics after the run, ``figures`` describes the plots (drawn by ``plots`` with
``scales``), and ``report_page`` makes the document. Only ``evidence`` does I/O.
"""
