# The official server, as the owner of the model repository. On a GPU it runs models by its own ONNX Runtime backend.
FROM nvcr.io/nvidia/tritonserver:25.08-py3 AS gpu
# A volume inherits owner and mode of the folder that it is first mounted on.
RUN install -d -o 10001 -g 10001 /models
USER 10001:10001

# On CPU the models' Python backend imports onnxruntime.
FROM gpu AS cpu
USER root
COPY deploy/locks/triton-cpu.txt /tmp/triton-cpu.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/triton-cpu.txt && rm /tmp/triton-cpu.txt
USER 10001:10001
