# The image of everything that is not Flink: scorer, sinks, detectors, command line.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /app
COPY deploy/locks/image.txt deploy/locks/build.txt deploy/locks/tools.txt deploy/locks/
RUN pip install --no-cache-dir --require-hashes -r deploy/locks/tools.txt
RUN uv venv /opt/venv \
    && uv pip sync --no-cache --require-hashes --compile-bytecode --python /opt/venv/bin/python deploy/locks/image.txt
COPY . .
RUN uv build --quiet --wheel --build-constraint deploy/locks/build.txt --require-hashes --out-dir /dist \
    && uv pip install --no-cache --no-deps --no-index --compile-bytecode --python /opt/venv/bin/python /dist/*.whl

FROM python:3.11.13-slim-bookworm
# A volume inherits owner and mode of the folder that it is first mounted on.
RUN useradd --uid 10001 --create-home penstock && install -d -o penstock -g penstock /models /data/backfills
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /home/penstock
ENTRYPOINT ["penstock"]
CMD ["--help"]
