package penstock.kernel.replay;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.SourcePartition;

/**
 * Sorts the records of several partitions by (greatest Kafka timestamp of the partition so far,
 * source, partition, offset). All replays of the same records therefore give the same values, even
 * for entities whose events are in several partitions.
 *
 * <p>The watermark follows the slowest partition, and a record leaves when the watermark reaches
 * it. So the source must use {@link TimestampWatermarks} per split, and this operator must have one
 * task. It forwards only the final watermark.
 */
public final class ReplaySorter extends AbstractStreamOperator<RawRecord>
    implements OneInputStreamOperator<RawRecord, RawRecord> {
  private static final long serialVersionUID = 1;

  private transient PriorityQueue<QueuedRecord> queued;
  private transient ListState<QueuedRecord> queuedState;

  /** The greatest Kafka timestamp so far. */
  private transient Map<SourcePartition, Long> clocks;

  private transient ListState<Tuple3<Integer, Integer, Long>> clockState;

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    queued = new PriorityQueue<>(QueuedRecord.ORDER);
    queuedState =
        context
            .getOperatorStateStore()
            .getListState(new ListStateDescriptor<>("waiting", new QueuedRecordSerializer()));
    queuedState.get().forEach(queued::add);
    clocks = new HashMap<>();
    clockState =
        context
            .getOperatorStateStore()
            .getListState(
                new ListStateDescriptor<>("clocks", Types.TUPLE(Types.INT, Types.INT, Types.LONG)));
    clockState
        .get()
        .forEach(clock -> clocks.put(new SourcePartition(clock.f0, clock.f1), clock.f2));
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    queuedState.update(new ArrayList<>(queued));
    List<Tuple3<Integer, Integer, Long>> now = new ArrayList<>();
    clocks.forEach(
        (partition, clock) -> now.add(Tuple3.of(partition.source(), partition.partition(), clock)));
    clockState.update(now);
  }

  @Override
  public void processElement(StreamRecord<RawRecord> element) {
    RawRecord record = element.getValue();
    SourcePartition partition = new SourcePartition(record.source(), record.partition());
    queued.add(new QueuedRecord(clocks.merge(partition, record.timestamp(), Math::max), record));
  }

  @Override
  public void processWatermark(Watermark mark) {
    while (!queued.isEmpty() && queued.peek().time() <= mark.getTimestamp()) {
      QueuedRecord next = queued.poll();
      output.collect(new StreamRecord<>(next.record(), next.time()));
    }
    if (mark.equals(Watermark.MAX_WATERMARK)) {
      output.emitWatermark(mark);
    }
  }
}
