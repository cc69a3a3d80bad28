package penstock.kernel.replay;

import java.io.IOException;
import java.util.List;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.KafkaSourceEnumState;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import penstock.kernel.decode.RawRecord;

/**
 * A bounded Kafka source that also ends after a restore. The connector's own source does not
 * (FLINK-31006): after a restore it finds no new partition and never tells its readers that there
 * are no more.
 */
public final class ReplaySource extends WrappedKafkaSource {
  private static final long serialVersionUID = 1;

  /** Wraps {@code source}, which must be bounded and have a fixed set of partitions. */
  public ReplaySource(KafkaSource<RawRecord> source) {
    super(source);
  }

  @Override
  public SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> restoreEnumerator(
      SplitEnumeratorContext<KafkaPartitionSplit> context, KafkaSourceEnumState state)
      throws IOException {
    SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> restored =
        super.restoreEnumerator(context, state);
    return state.initialDiscoveryFinished() ? new NoMoreSplits(restored, context) : restored;
  }

  /** An enumerator that has assigned all splits, and tells every reader so. */
  private record NoMoreSplits(
      SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> restored,
      SplitEnumeratorContext<KafkaPartitionSplit> context)
      implements SplitEnumerator<KafkaPartitionSplit, KafkaSourceEnumState> {

    @Override
    public void start() {
      restored.start();
    }

    @Override
    public void handleSplitRequest(int subtask, String host) {
      restored.handleSplitRequest(subtask, host);
    }

    @Override
    public void addSplitsBack(List<KafkaPartitionSplit> splits, int subtask) {
      restored.addSplitsBack(splits, subtask);
    }

    @Override
    public void addReader(int subtask) {
      restored.addReader(subtask);
      context.signalNoMoreSplits(subtask);
    }

    @Override
    public KafkaSourceEnumState snapshotState(long checkpoint) throws Exception {
      return restored.snapshotState(checkpoint);
    }

    @Override
    public void close() throws IOException {
      restored.close();
    }
  }
}
