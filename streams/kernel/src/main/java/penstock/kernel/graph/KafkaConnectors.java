package penstock.kernel.graph;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.Function;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.KafkaSinkBuilder;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.KafkaSourceBuilder;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeader;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.decode.RawRecordSchema;
import penstock.kernel.encode.OutgoingRecord;
import penstock.kernel.fill.SavepointOffsets;
import penstock.kernel.plan.Plan;
import penstock.kernel.replay.Replay;

/** The job's Kafka sources and sinks. */
final class KafkaConnectors {
  /**
   * A producer refuses longer records, whatever their topic takes. Dead letters carry the invalid
   * event, which may be invalid because it is too large.
   */
  static final int MAX_RECORD_BYTES = 32 << 20;

  private static final String BUFFER_BYTES = String.valueOf(2 * MAX_RECORD_BYTES);

  /** Per partition, for records that pile up behind a slow broker. */
  private static final String BATCH_BYTES = String.valueOf(256 << 10);

  /** Flink's default of one hour exceeds the broker's default limit of 15 minutes. */
  private static final String TRANSACTION_TIMEOUT_MS = "600000";

  private KafkaConnectors() {}

  static KafkaSource<RawRecord> source(JobRequest request, Plan plan, Properties kafka) {
    return (request.replay() == null ? endless(request, plan) : bounded(request, plan))
        .setProperties(kafka)
        .setGroupId(request.group())
        .setClientIdPrefix(request.group())
        .setDeserializer(deserializer(request, plan))
        // The features topic has as many partitions: changing the number needs a new start of the
        // job.
        .setProperty("partition.discovery.interval.ms", "-1")
        .setProperty("isolation.level", "read_committed")
        // The broker answers at once when a record arrives: an idle job need not ask often.
        .setProperty("fetch.max.wait.ms", "100")
        .build();
  }

  private static RawRecordSchema deserializer(JobRequest request, Plan plan) {
    boolean restored = request.replay() != null && !request.replay().restored().isEmpty();
    return new RawRecordSchema(
        restored
            ? request.replay().restored().stream().map(Replay.Restored::topic).toList()
            : plan.sources().stream().map(Plan.Source::topic).toList(),
        request.replay() == null ? List.of() : plan.referenceTopics(),
        restored);
  }

  /**
   * Fails the job if retention has deleted records before they were read, so that none is skipped
   * silently.
   */
  @SuppressWarnings("deprecation") // The connector's API still takes Kafka's old enum.
  private static KafkaSourceBuilder<RawRecord> endless(JobRequest request, Plan plan) {
    return KafkaSource.<RawRecord>builder()
        .setTopics(plan.sources().stream().map(Plan.Source::topic).toList())
        .setStartingOffsets(
            OffsetsInitializer.offsets(
                perPartition(request, plan, JobRequest.Start::first), OffsetResetStrategy.NONE));
  }

  /** The first offsets that the topics still have. */
  static Map<TopicPartition, Long> earliest(JobRequest request, Plan plan) {
    return perPartition(request, plan, JobRequest.Start::earliest);
  }

  private static Map<TopicPartition, Long> perPartition(
      JobRequest request, Plan plan, Function<JobRequest.Start, Map<Integer, Long>> offsets) {
    Map<TopicPartition, Long> found = new HashMap<>();
    for (int i = 0; i < request.starts().size(); i++) {
      String topic = plan.sources().get(i).topic();
      offsets
          .apply(request.starts().get(i))
          .forEach((number, at) -> found.put(new TopicPartition(topic, number), at));
    }
    return found;
  }

  /**
   * Fails the job if retention has deleted records of the range, so that none is skipped silently.
   */
  @SuppressWarnings("deprecation")
  private static KafkaSourceBuilder<RawRecord> bounded(JobRequest request, Plan plan) {
    Replay replay = request.replay();
    Map<TopicPartition, Long> start = new HashMap<>();
    Map<TopicPartition, Long> end = new HashMap<>();
    for (int i = 0; i < plan.sources().size(); i++) {
      Replay.Offsets offsets = replay.sources().get(i);
      Replay.Restored read =
          replay.restored().isEmpty()
              ? new Replay.Restored(plan.sources().get(i).topic(), offsets.start(), offsets.end())
              : replay.restored().get(i);
      read.start().forEach((n, at) -> start.put(new TopicPartition(read.topic(), n), at));
      read.end().forEach((n, at) -> end.put(new TopicPartition(read.topic(), n), at));
    }
    for (int i = 0; i < replay.lookups().size(); i++) {
      String topic = plan.referenceTopics().get(i);
      Replay.Offsets read = replay.lookups().get(i);
      read.start().forEach((n, at) -> start.put(new TopicPartition(topic, n), at));
      read.end().forEach((n, at) -> end.put(new TopicPartition(topic, n), at));
    }
    return KafkaSource.<RawRecord>builder()
        .setPartitions(new HashSet<>(start.keySet()))
        .setStartingOffsets(OffsetsInitializer.offsets(start, OffsetResetStrategy.NONE))
        .setBounded(
            request.fill() == null || request.fill().endSavepoint() == null
                ? OffsetsInitializer.offsets(end)
                : new SavepointOffsets(request.fill().endSavepoint(), start));
  }

  static KafkaSink<OutgoingRecord> features(JobRequest request, Plan plan, Properties kafka) {
    DeliveryGuarantee guarantee =
        request.exactlyOnce() ? DeliveryGuarantee.EXACTLY_ONCE : DeliveryGuarantee.AT_LEAST_ONCE;
    String topic = request.replay() == null ? plan.featuresTopic() : request.replay().topic();
    return sink(topic, kafka, guarantee).setTransactionalIdPrefix(request.group()).build();
  }

  static KafkaSink<OutgoingRecord> deadLetters(String topic, Properties kafka) {
    return sink(topic, kafka, DeliveryGuarantee.AT_LEAST_ONCE).build();
  }

  private static KafkaSinkBuilder<OutgoingRecord> sink(
      String topic, Properties kafka, DeliveryGuarantee guarantee) {
    return KafkaSink.<OutgoingRecord>builder()
        .setKafkaProducerConfig(producer(kafka))
        .setRecordSerializer(new OutgoingRecordSchema(topic))
        .setDeliveryGuarantee(guarantee);
  }

  static Properties producer(Properties kafka) {
    Properties properties = new Properties();
    properties.putAll(kafka);
    properties.setProperty("acks", "all");
    // A record waits for others, and for the request before it, so requests grow with the load.
    // Each
    // request is also an answer to every consumer of the topic: they cost more than the records.
    properties.setProperty("linger.ms", "3");
    properties.setProperty("max.in.flight.requests.per.connection", "1");
    properties.setProperty("batch.size", BATCH_BYTES);
    properties.setProperty("max.request.size", String.valueOf(MAX_RECORD_BYTES));
    properties.setProperty("buffer.memory", BUFFER_BYTES);
    properties.setProperty("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
    return properties;
  }

  /** Publishes records unchanged. The producer sets their timestamp. */
  private static final class OutgoingRecordSchema
      implements KafkaRecordSerializationSchema<OutgoingRecord> {
    private static final long serialVersionUID = 1;

    private final String topic;

    OutgoingRecordSchema(String topic) {
      this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(
        OutgoingRecord record, KafkaSinkContext context, Long timestamp) {
      List<Header> headers = new ArrayList<>(record.headers().size());
      for (RawRecord.Header header : record.headers()) {
        headers.add(new RecordHeader(header.name(), header.value()));
      }
      Integer partition = record.partition() < 0 ? null : record.partition();
      return new ProducerRecord<>(topic, partition, record.key(), record.value(), headers);
    }
  }
}
