"""Features: from the definition language to the job that computes them.

- ``definitions``  the language in which a pipeline is written
- ``plan``         a compiled definition: plain data for every engine
- ``oracle``       a naive implementation of the semantics, to which every engine is compared
- ``inprocess``    the kernel as a child process: unit tests of features without a cluster
- ``flink``        the PyFlink job: job graph, submission, upgrades
- ``kernel``       the JVM operators (Java)
- ``drift``        drift detectors on features and scores

Each imports only those above it. Definitions, plan and oracle may not use Kafka, Flink, Redis or Cassandra.
"""
