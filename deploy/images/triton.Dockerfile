# Triton on CPU: the official server plus the onnxruntime that the models' Python backend imports.
# On a GPU the official image is used as it is, with its own ONNX Runtime backend.
FROM nvcr.io/nvidia/tritonserver:25.08-py3
COPY deploy/locks/triton-cpu.txt /tmp/triton-cpu.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/triton-cpu.txt && rm /tmp/triton-cpu.txt
# The owner of the model repository; the server only reads it.
USER 10001:10001
