# The image of everything that is not Flink: scorer, sinks, detectors, command line.
FROM python:3.11-slim-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY deploy/locks/image.txt deploy/locks/image.txt
RUN uv venv /opt/venv \
    && uv pip sync --no-cache --require-hashes --compile-bytecode --python /opt/venv/bin/python deploy/locks/image.txt
COPY . .
RUN uv pip install --no-cache --no-deps --python /opt/venv/bin/python .

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --create-home penstock && mkdir /models && chown penstock /models
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
USER penstock
WORKDIR /home/penstock
ENTRYPOINT ["penstock"]
CMD ["--help"]
