package penstock.kernel.decode;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.util.ListCollector;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeader;
import org.junit.jupiter.api.Test;

class RawRecordSchemaTest {
  private static ConsumerRecord<byte[], byte[]> record(long... position) {
    var record =
        new ConsumerRecord<>("events", 1, 5L, "k".getBytes(StandardCharsets.UTF_8), new byte[] {7});
    if (position.length > 0) {
      byte[] value = ByteBuffer.allocate(16).putLong(position[0]).putLong(position[1]).array();
      record.headers().add(new RecordHeader("__penstock.position", value));
    }
    record.headers().add(new RecordHeader("own", new byte[] {9}));
    return record;
  }

  private static RawRecord read(boolean restored, ConsumerRecord<byte[], byte[]> record) {
    List<RawRecord> found = new ArrayList<>();
    new RawRecordSchema(List.of("others", "events"), List.of(), restored)
        .deserialize(record, new ListCollector<>(found));
    return found.get(0);
  }

  @Test
  void aCopyHasTheOffsetAndTimestampOfItsOriginalAndNoHeaderMore() {
    RawRecord copy = read(true, record(1234, 77));
    assertEquals(1234, copy.offset());
    assertEquals(77, copy.timestamp());
    assertEquals(List.of("own"), copy.headers().stream().map(RawRecord.Header::name).toList());
  }

  @Test
  void aRecordOfTheTopicKeepsItsOwn() {
    RawRecord own = read(false, record());
    assertEquals(5, own.offset());
    assertEquals(1, own.source());
    assertEquals(1, own.headers().size());
  }
}
