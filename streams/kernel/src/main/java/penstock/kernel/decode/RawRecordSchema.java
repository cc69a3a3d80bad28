package penstock.kernel.decode;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.util.Collector;
import penstock.kernel.event.SerializerTypeInfo;

/**
 * Takes Kafka records as they are, tombstones included: whether one is an event is decided where it
 * can be refused.
 */
public final class RawRecordSchema implements KafkaRecordDeserializationSchema<RawRecord> {
  private static final long serialVersionUID = 1;

  @Override
  public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<RawRecord> out) {
    List<RawRecord.Header> headers = List.of();
    for (Header header : record.headers()) {
      if (headers.isEmpty()) {
        headers = new ArrayList<>();
      }
      headers.add(new RawRecord.Header(header.key(), header.value()));
    }
    out.collect(
        new RawRecord(
            record.partition(),
            record.offset(),
            record.timestamp(),
            record.key(),
            record.value(),
            headers));
  }

  @Override
  public TypeInformation<RawRecord> getProducedType() {
    return new SerializerTypeInfo<>(RawRecord.class, new RawRecordSerializer());
  }
}
