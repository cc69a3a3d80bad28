# The image of everything that is not Flink: scorer, sinks, archive, detectors, command line. And, as target `parity`, the
# same with the window kernel, for what recomputes features: `penstock parity`, `features test`.
FROM maven:3.9.11-eclipse-temurin-17 AS kernel
WORKDIR /src
COPY deploy/java/check-jars.sh deploy/java/
COPY deploy/locks/jars.txt deploy/locks/
COPY streams/kernel streams/kernel
RUN mvn -B -q -f streams/kernel/pom.xml dependency:copy-dependencies -DoutputDirectory=/tmp/kernel \
    && deploy/java/check-jars.sh kernel /tmp/kernel \
    && mvn -B -q -f streams/kernel/pom.xml package -DskipTests \
    && mvn -B -q -f streams/kernel/pom.xml dependency:copy-dependencies -DoutputDirectory=/jars/kernel/flink \
        -DincludeScope=compile \
    && cp streams/kernel/target/penstock-kernel.jar /jars/kernel/

FROM python:3.11.13-slim-bookworm AS build
WORKDIR /app
COPY deploy/locks/image.txt deploy/locks/build.txt deploy/locks/tools.txt deploy/locks/
RUN pip install --no-cache-dir --require-hashes -r deploy/locks/tools.txt
RUN uv venv /opt/venv \
    && uv pip sync --no-cache --require-hashes --compile-bytecode --python /opt/venv/bin/python deploy/locks/image.txt
COPY . .
# The kernel is not in the wheel here: an image that needs it has it from the stage above.
RUN PENSTOCK_WHEEL_KERNEL=none uv build --quiet --wheel --build-constraint deploy/locks/build.txt --require-hashes --out-dir /dist \
    && uv pip install --no-cache --no-deps --no-index --compile-bytecode --python /opt/venv/bin/python /dist/*.whl

FROM python:3.11.13-slim-bookworm AS installed
# A volume inherits owner and mode of the folder that it is first mounted on.
RUN useradd --uid 10001 --create-home penstock \
    && install -d -o penstock -g penstock /models /data/backfills /data/archive
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /home/penstock
ENTRYPOINT ["penstock"]
CMD ["--help"]

FROM installed AS parity
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless \
    && rm -rf /var/lib/apt/lists/*
COPY --from=kernel /jars /opt/penstock/jars
ENV PENSTOCK_SETUP=/opt/penstock
USER 10001:10001

FROM installed AS services
USER 10001:10001
