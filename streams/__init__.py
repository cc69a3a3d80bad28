"""Features: from the definition language to the job that computes them.

- ``definitions``  the language in which a pipeline is written
- ``plan``         what a definition means, as plain data for every engine
- ``oracle``       the semantics, computed naively: the judge of every engine
- ``inprocess``    the kernel as a child process: unit tests of features without a cluster
- ``flink``        the PyFlink job, its submission, and its life on a cluster
- ``kernel``       the JVM operators (Java)
- ``drift``        drift detectors on features and scores

Each imports only those above it. Definitions, plan and oracle touch no Kafka, Flink, Redis or Cassandra.
"""
