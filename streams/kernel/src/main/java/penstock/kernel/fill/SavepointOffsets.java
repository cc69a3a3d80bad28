package penstock.kernel.fill;

import java.io.DataInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.typeutils.base.array.BytePrimitiveArraySerializer;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplitSerializer;
import org.apache.flink.core.fs.FSDataInputStream;
import org.apache.flink.core.io.SimpleVersionedSerialization;
import org.apache.flink.core.memory.DataInputViewStreamWrapper;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.OffsetResetStrategy;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.runtime.checkpoint.OperatorState;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.state.OperatorStateHandle;

/**
 * Ends a source at the positions of the source in a savepoint: it reads exactly what the job of the
 * savepoint had read before.
 */
@SuppressWarnings("deprecation") // The connector's API still takes Kafka's old enum.
public final class SavepointOffsets implements OffsetsInitializer {
  private static final long serialVersionUID = 1;

  /** The live job's source; see {@code JobGraph}. */
  private static final String SOURCE = "source";

  /** Of Flink's {@code SourceOperator}. */
  private static final String SPLITS = "SourceReaderState";

  private final String savepoint;
  private final HashMap<TopicPartition, Long> start;

  /** The positions in {@code savepoint}; a partition that it had not begun ends at its start. */
  public SavepointOffsets(String savepoint, Map<TopicPartition, Long> start) {
    this.savepoint = savepoint;
    this.start = new HashMap<>(start);
  }

  @Override
  public Map<TopicPartition, Long> getPartitionOffsets(
      Collection<TopicPartition> partitions, PartitionOffsetsRetriever retriever) {
    Map<TopicPartition, Long> found;
    try {
      found = read(savepoint);
    } catch (IOException error) {
      throw new UncheckedIOException("savepoint " + savepoint + " cannot be read", error);
    }
    Map<TopicPartition, Long> ends = new HashMap<>();
    for (TopicPartition partition : partitions) {
      long begin = start.get(partition);
      long end = found.getOrDefault(partition, -1L);
      if (end >= 0 && end < begin) {
        throw new IllegalStateException(
            "the running job has gone back to position %d of %s, which was replayed to %d"
                .formatted(end, partition, begin));
      }
      ends.put(partition, Math.max(begin, end)); // negative: the job has read nothing of it
    }
    return ends;
  }

  @Override
  public OffsetResetStrategy getAutoOffsetResetStrategy() {
    return OffsetResetStrategy.NONE;
  }

  private static Map<TopicPartition, Long> read(String savepoint) throws IOException {
    Map<TopicPartition, Long> found = new HashMap<>();
    for (OperatorState operator : Savepoints.read(savepoint).getOperatorStates()) {
      if (operator.getOperatorUid().filter(SOURCE::equals).isPresent()) {
        for (OperatorSubtaskState subtask : operator.getStates()) {
          for (OperatorStateHandle handle : subtask.getManagedOperatorState()) {
            read(handle, found);
          }
        }
      }
    }
    if (found.isEmpty()) {
      throw new IOException("it has no positions of a source");
    }
    return found;
  }

  private static void read(OperatorStateHandle handle, Map<TopicPartition, Long> found)
      throws IOException {
    OperatorStateHandle.StateMetaInfo splits = handle.getStateNameToPartitionOffsets().get(SPLITS);
    if (splits == null) {
      return;
    }
    KafkaPartitionSplitSerializer serializer = new KafkaPartitionSplitSerializer();
    try (FSDataInputStream in = handle.openInputStream()) {
      for (long at : splits.getOffsets()) {
        in.seek(at);
        byte[] bytes =
            BytePrimitiveArraySerializer.INSTANCE.deserialize(
                new DataInputViewStreamWrapper(new DataInputStream(in)));
        KafkaPartitionSplit split =
            SimpleVersionedSerialization.readVersionAndDeSerialize(serializer, bytes);
        found.put(split.getTopicPartition(), split.getStartingOffset());
      }
    }
  }
}
