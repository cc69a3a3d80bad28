package penstock.kernel.graph;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Properties;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.Header;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.record.AbstractRecords;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.record.CompressionType;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.record.RecordBatch;
import org.junit.jupiter.api.Test;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.encode.OutgoingRecord;

/** A record that passes the check of its length is one that the producer takes. */
class KafkaConnectorsTest {
  private static final int LARGE_TOPIC = 400_000_000;

  @Test
  void noRecordIsPublishedThatIsLongerThanAProducerTakes() {
    JobRequest.Limits limits =
        new JobRequest.Limits(LARGE_TOPIC, List.of(1_000L, (long) LARGE_TOPIC), LARGE_TOPIC);
    long most = Long.parseLong(producer().getProperty("max.request.size"));
    assertEquals(most, limits.features());
    assertEquals(List.of(1_000L, most), limits.deadLetters());
    assertEquals(most, limits.unpublished());
  }

  @Test
  void aTopicThatTakesLessSetsTheLimit() {
    JobRequest.Limits limits = new JobRequest.Limits(8 << 20, List.of(2_000L), 3_000);
    assertEquals(8 << 20, limits.features());
    assertEquals(List.of(2_000L), limits.deadLetters());
    assertEquals(3_000, limits.unpublished());
  }

  @Test
  void aRecordIsNotLongerForTheProducerThanForTheCheck() {
    byte[] key = new byte[300];
    byte[] value = new byte[100_000];
    OutgoingRecord record =
        new OutgoingRecord(
            0, key, value, List.of(header("näme", value), header("b", null)));
    Header[] headers = {new RecordHeader("näme", value), new RecordHeader("b", (byte[]) null)};
    int counted =
        AbstractRecords.estimateSizeInBytesUpperBound(
            RecordBatch.CURRENT_MAGIC_VALUE, CompressionType.NONE, key, value, headers);
    assertTrue(counted <= record.bytes(), counted + " > " + record.bytes());
  }

  @Test
  void theProducersBufferHasRoomForTheLongestRecord() {
    Properties properties = producer();
    long most = Long.parseLong(properties.getProperty("max.request.size"));
    assertTrue(most <= Long.parseLong(properties.getProperty("buffer.memory")));
  }

  private static RawRecord.Header header(String name, byte[] value) {
    return new RawRecord.Header(name, value);
  }

  private static Properties producer() {
    Properties kafka = new Properties();
    kafka.setProperty("bootstrap.servers", "localhost:1");
    return KafkaConnectors.producer(kafka);
  }
}
