package penstock.kernel.decode;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.util.Collector;
import penstock.kernel.event.SerializerTypeInfo;

/**
 * Passes Kafka records on unchanged, tombstones included. The decoder validates them later.
 *
 * <p>Records that {@code backfill/restored.py} has copied from an archive have their own offset and
 * timestamp in their first header; they are passed on as they were.
 */
public final class RawRecordSchema implements KafkaRecordDeserializationSchema<RawRecord> {
  private static final long serialVersionUID = 1;

  private final List<String> topics;
  private final List<String> references;
  private final boolean restored;

  /**
   * For records of these topics, in the order of the plan's sources.
   *
   * @param references the topics of reference data among them, in the plan's order
   * @param restored whether they are copies
   */
  public RawRecordSchema(List<String> topics, List<String> references, boolean restored) {
    this.topics = List.copyOf(topics);
    this.references = List.copyOf(references);
    this.restored = restored;
  }

  @Override
  public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<RawRecord> out) {
    int source = topics.indexOf(record.topic());
    int reference = references.indexOf(record.topic());
    if (reference >= 0) {
      source = -1 - reference;
    } else if (source < 0) {
      // A restored reader may still have partitions of a source that was removed from the pipeline.
      return;
    }
    List<RawRecord.Header> headers = List.of();
    for (Header header : record.headers()) {
      if (headers.isEmpty()) {
        headers = new ArrayList<>();
      }
      headers.add(new RawRecord.Header(header.key(), header.value()));
    }
    long offset = record.offset();
    long timestamp = record.timestamp();
    if (restored && reference < 0) {
      ByteBuffer position = ByteBuffer.wrap(headers.remove(0).value());
      offset = position.getLong();
      timestamp = position.getLong();
    }
    out.collect(
        new RawRecord(
            source, record.partition(), offset, timestamp, record.key(), record.value(), headers));
  }

  @Override
  public TypeInformation<RawRecord> getProducedType() {
    return new SerializerTypeInfo<>(RawRecord.class, new RawRecordSerializer());
  }
}
