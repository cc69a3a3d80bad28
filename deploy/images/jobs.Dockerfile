# The image of Flink: JobManager, TaskManager and job submission, all from the distribution inside the PyFlink wheel,
# so that the cluster and its clients are of one version by construction.
FROM maven:3.9.11-eclipse-temurin-17 AS jars
WORKDIR /src
COPY deploy/java deploy/java
COPY deploy/locks/jars.txt deploy/locks/
RUN mvn -B -q -f deploy/java/pom.xml -P flink dependency:copy-dependencies \
        -DoutputDirectory=/jars/flink -DincludeScope=runtime \
    && mvn -B -q -f deploy/java/pom.xml -P flink-s3 dependency:copy-dependencies \
        -DoutputDirectory=/plugins/s3-fs-presto -DincludeScope=runtime \
    && deploy/java/check-jars.sh flink /jars/flink && deploy/java/check-jars.sh flink-s3 /plugins/s3-fs-presto
COPY streams/kernel streams/kernel
RUN mvn -B -q -f streams/kernel/pom.xml dependency:copy-dependencies -DoutputDirectory=/tmp/kernel \
    && deploy/java/check-jars.sh kernel /tmp/kernel \
    && mvn -B -q -f streams/kernel/pom.xml package -DskipTests \
    && mkdir -p /jars/kernel && cp streams/kernel/target/penstock-kernel.jar /jars/kernel/

FROM python:3.11.13-slim-bookworm AS build
# pemja, under apache-flink, has no wheel for every platform: a compiler and a JDK build it where it has none.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ openjdk-17-jdk-headless \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY deploy/locks/jobs.txt deploy/locks/build.txt deploy/locks/tools.txt deploy/locks/
RUN pip install --no-cache-dir --require-hashes -r deploy/locks/tools.txt
RUN uv venv /opt/venv \
    && uv pip sync --no-cache --require-hashes --compile-bytecode --python /opt/venv/bin/python deploy/locks/jobs.txt
COPY . .
# The kernel is not in the wheel here: an image that needs it has it from the stage above.
RUN PENSTOCK_WHEEL_KERNEL=none uv build --quiet --wheel --build-constraint deploy/locks/build.txt --require-hashes --out-dir /dist \
    && uv pip install --no-cache --no-deps --no-index --compile-bytecode --python /opt/venv/bin/python /dist/*.whl

FROM python:3.11.13-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home penstock \
    && install -d -o penstock -g penstock /data/backfills /data/flink /data/flink/checkpoints /data/flink/savepoints \
    && install -d -o penstock -g penstock -m 0700 /data/flink/ha
COPY --from=build /opt/venv /opt/venv
COPY --from=jars /jars /opt/penstock/jars
ARG DISTRIBUTION=/opt/venv/lib/python3.11/site-packages/pyflink
COPY --from=jars /plugins $DISTRIBUTION/plugins
COPY deploy/images/flink-config.yaml $DISTRIBUTION/conf/config.yaml
COPY deploy/images/log4j-console.properties deploy/images/log4j-cli.properties $DISTRIBUTION/conf/
# Python columns: their native library loads once per JVM, so its jar must not come with each job.
RUN ln -s $DISTRIBUTION /opt/flink && ln -s $DISTRIBUTION/opt/flink-python-*.jar $DISTRIBUTION/lib/
ENV FLINK_HOME=/opt/flink FLINK_CONF_DIR=/opt/flink/conf FLINK_LOG_DIR=/tmp/flink-log FLINK_PID_DIR=/tmp/flink-pid \
    PENSTOCK_FLINK_HOME=/opt/flink PENSTOCK_FLINK_CONF_DIR=/opt/flink/conf PENSTOCK_FLINK_STATE=/data/flink \
    PENSTOCK_JARS=/opt/penstock/jars PATH=/opt/venv/bin:/opt/flink/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /home/penstock
# `penstock topics | job | backfill` run from this image as well: its environment holds what they need.
CMD ["jobmanager.sh", "start-foreground"]
