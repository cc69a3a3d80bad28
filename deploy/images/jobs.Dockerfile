# The image of Flink: JobManager, TaskManager and job submission, all from the distribution inside the PyFlink wheel,
# so that the cluster and its clients are of one version by construction.
FROM maven:3.9-eclipse-temurin-17 AS jars
WORKDIR /src
COPY deploy/java/pom.xml deploy/java/pom.xml
RUN mvn -B -q -f deploy/java/pom.xml -P flink dependency:copy-dependencies \
    -DoutputDirectory=/jars/flink -DincludeScope=runtime
COPY streams/kernel streams/kernel
RUN mvn -B -q -f streams/kernel/pom.xml package -DskipTests \
    && mkdir -p /jars/kernel && cp streams/kernel/target/penstock-kernel.jar /jars/kernel/

FROM python:3.11-slim-bookworm AS build
# pemja, under apache-flink, has no wheel for every platform: a compiler and a JDK build it where it has none.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ openjdk-17-jdk-headless \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
COPY deploy/locks/jobs.txt deploy/locks/jobs.txt
RUN uv venv /opt/venv \
    && uv pip sync --no-cache --require-hashes --compile-bytecode --python /opt/venv/bin/python deploy/locks/jobs.txt
COPY . .
RUN uv pip install --no-cache --no-deps --python /opt/venv/bin/python .

FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home penstock \
    && mkdir -p /data/flink/checkpoints /data/flink/savepoints && chown -R penstock /data/flink
COPY --from=build --chown=penstock /opt/venv /opt/venv
COPY --from=jars /jars /opt/penstock/jars
# Python columns: their native library loads once per JVM, so its jar must not come with each job.
RUN ln -s /opt/venv/lib/python3.11/site-packages/pyflink /opt/flink \
    && ln -s /opt/flink/opt/flink-python-*.jar /opt/flink/lib/
COPY --chown=penstock deploy/images/flink-config.yaml /opt/flink/conf/config.yaml
ENV FLINK_HOME=/opt/flink FLINK_CONF_DIR=/opt/flink/conf PENSTOCK_FLINK_HOME=/opt/flink \
    PENSTOCK_FLINK_CONF_DIR=/opt/flink/conf PENSTOCK_JARS=/opt/penstock/jars \
    PATH=/opt/venv/bin:/opt/flink/bin:$PATH PYTHONUNBUFFERED=1
USER penstock
WORKDIR /home/penstock
CMD ["jobmanager.sh", "start-foreground"]
