"""Scoring: from feature records to predictions, exactly once; training, and the model repository.

The scorer:

- ``service``         checks, assembles and runs a scorer
- ``startup``         the checks before the first record
- ``scorer``          the consumer loop: one transaction per micro-batch
- ``batch``           the pure steps of a micro-batch
- ``recall``          deduplication: which raw events are already scored; ``memory`` keeps them, ``look_back`` tells how
                      far back published answers must be read, ``history`` reads them from Kafka
- ``inference``       scores a batch on the primary model server, or on the fallback
- ``hosted_inference``  the same for a model that only the server has: without a fallback, a batch waits
- ``servers``         the interface of a model server; Triton and ONNX Runtime
- ``other_views``     the inputs from views of other pipelines, whose entities ``entity_keys`` finds in feature records
- ``predictions``     the records that the scorer writes; ``decision`` is their policy
- ``scorer_metrics``  Prometheus metrics

Models:

- ``vectors``         feature vectors as models take them
- ``training_set``    the point-in-time join of vectors and labels
- ``training``        from a training set to an ONNX model, a ``trained_model``
- ``repository``      model versions on disk; ``triton_model`` is copied into each for Triton to run
- ``hosted_model``    a model that Triton hosts already; ``hosted_import`` maps vectors to its tensors,
                      ``hosted_files`` hashes it, ``triton_hosted_model`` and ``hosted_tensors`` are copied into a
                      version that calls it
- ``version_loading`` makes a version the current one
- ``version_files``   hashes and identity of a version; ``provenance``, ``registration`` from another repository
- ``trainings``       every training, also those that failed
- ``alias_history``   what was served when, and why; ``overview`` of all versions; ``line_files`` keeps such records
- ``mlflow_mirror``   the same in MLflow
- ``gates``           what a version must pass, and the stored reports
- ``model_metadata``  what describes a served version
- ``attribution``     by how much each input moves the score of trees, which ``tree_ensemble`` reads from ONNX;
                      ``reasons`` are the top ones of a score
- ``cascade``         the band of scores in which a fast model leaves the decision to a strong one; ``audit`` is the
                      slice of other events that tells what this costs
- ``rollout``         policies that say which version scores which entity

Kafka transactions are in :mod:`penstock.kafka.transactions`; nothing here reads the command line.
"""
