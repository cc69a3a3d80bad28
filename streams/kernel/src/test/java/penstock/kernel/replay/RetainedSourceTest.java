package penstock.kernel.replay;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.Test;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.decode.RawRecordSchema;

class RetainedSourceTest {
  private static final TopicPartition PARTITION = new TopicPartition("events", 3);

  /** The offset at which a job goes on whose state has this one; the topic begins at 10. */
  private static long restored(long offset, boolean skip) throws IOException {
    KafkaSource<RawRecord> source =
        KafkaSource.<RawRecord>builder()
            .setBootstrapServers("unused:1")
            .setTopics("events")
            .setDeserializer(new RawRecordSchema(List.of("events"), List.of(), false))
            .build();
    SimpleVersionedSerializer<KafkaPartitionSplit> serializer =
        new RetainedSource(source, Map.of(PARTITION, 10L), skip).getSplitSerializer();
    byte[] state = serializer.serialize(new KafkaPartitionSplit(PARTITION, offset));
    return serializer.deserialize(serializer.getVersion(), state).getStartingOffset();
  }

  @Test
  void stateThatTheTopicStillHasIsRestored() throws IOException {
    assertEquals(10, restored(10, false));
    assertEquals(25, restored(25, true));
  }

  @Test
  void theBeginningIsNeverBehind() throws IOException {
    assertEquals(
        KafkaPartitionSplit.EARLIEST_OFFSET, restored(KafkaPartitionSplit.EARLIEST_OFFSET, false));
  }

  @Test
  void stateBehindDeletedRecordsIsRefused() {
    IllegalStateException refused =
        assertThrows(IllegalStateException.class, () -> restored(5, false));
    assertEquals("position 5 is out of range for partition events-3", refused.getMessage());
  }

  @Test
  void stateBehindDeletedRecordsGoesOnAtTheEarliestOneIfToldTo() throws IOException {
    assertEquals(10, restored(5, true));
  }
}
