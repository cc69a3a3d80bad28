package penstock.kernel.replay;

import java.io.IOException;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.split.KafkaPartitionSplit;
import org.apache.flink.core.io.SimpleVersionedSerializer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import penstock.kernel.decode.RawRecord;

/**
 * A Kafka source that compares the offsets in its restored state with what the topics still have.
 * If Kafka has deleted records in between it fails before it reads anything, or, if told to, skips
 * and counts them.
 */
public final class RetainedSource extends WrappedKafkaSource {
  private static final long serialVersionUID = 1;
  private static final Logger LOG = LoggerFactory.getLogger(RetainedSource.class);

  private final Map<TopicPartition, Long> earliest;
  private final boolean skip;
  private final AtomicLong skipped = new AtomicLong();

  /** Wraps {@code source}; {@code earliest} are the first offsets that the topics still have. */
  public RetainedSource(
      KafkaSource<RawRecord> source, Map<TopicPartition, Long> earliest, boolean skip) {
    super(source);
    this.earliest = earliest;
    this.skip = skip;
  }

  @Override
  public SourceReader<RawRecord, KafkaPartitionSplit> createReader(SourceReaderContext context)
      throws Exception {
    context.metricGroup().gauge("penstock_deleted_records", skipped::get);
    return super.createReader(context);
  }

  @Override
  public SimpleVersionedSerializer<KafkaPartitionSplit> getSplitSerializer() {
    SimpleVersionedSerializer<KafkaPartitionSplit> serializer = super.getSplitSerializer();
    return new SimpleVersionedSerializer<>() {
      @Override
      public int getVersion() {
        return serializer.getVersion();
      }

      @Override
      public byte[] serialize(KafkaPartitionSplit split) throws IOException {
        return serializer.serialize(split);
      }

      @Override
      public KafkaPartitionSplit deserialize(int version, byte[] bytes) throws IOException {
        return retained(serializer.deserialize(version, bytes));
      }
    };
  }

  private KafkaPartitionSplit retained(KafkaPartitionSplit split) {
    long from = split.getStartingOffset();
    long to = earliest.getOrDefault(split.getTopicPartition(), from);
    if (from < 0 || from >= to) { // negative: the beginning
      return split;
    }
    if (!skip) {
      // streams/flink/starting.py reads this message.
      throw new IllegalStateException(
          "position " + from + " is out of range for partition " + split.getTopicPartition());
    }
    skipped.addAndGet(to - from);
    LOG.warn(
        "{}@{}: skipped to {}, Kafka deleted the records", split.getTopicPartition(), from, to);
    return new KafkaPartitionSplit(
        split.getTopicPartition(),
        to,
        split.getStoppingOffset().orElse(KafkaPartitionSplit.NO_STOPPING_OFFSET));
  }
}
