"""Model servers: what serves a model version and scores vectors with it.

- ``protocol``  the interface of a model server, and its errors
- ``triton``    Triton Inference Server, over gRPC
- ``hosted``    models that Triton has already, under any backend
- ``onnx``      ONNX Runtime in this process
- ``registry``  opens a server by its name

Only ``registry`` reads settings. Which server answers, and what happens when it fails, is decided in
:mod:`scoring.inference`, not here.
"""
