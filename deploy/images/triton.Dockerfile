# Triton on CPU: the official server plus the onnxruntime that the models' Python backend imports.
# On a GPU the official image is used as it is, with its own ONNX Runtime backend.
FROM nvcr.io/nvidia/tritonserver:25.08-py3
RUN pip install --no-cache-dir onnxruntime==1.22.1
