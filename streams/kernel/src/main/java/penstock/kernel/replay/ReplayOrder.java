package penstock.kernel.replay;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import penstock.kernel.decode.RawRecord;

/**
 * Puts the records of several partitions into the one order of every replay: (greatest Kafka
 * timestamp of the partition so far, partition, offset). Two replays of the same records therefore
 * give the same values, also of entities that are fed from several partitions.
 *
 * <p>A record leaves when the watermark, which follows the slowest partition, has reached it; so
 * the source's watermarks must be those of {@link TimestampReached}, split by split, and the
 * operator must be a single task. Of the watermarks only the last, which says that nothing follows,
 * is passed on.
 */
public final class ReplayOrder extends AbstractStreamOperator<RawRecord>
    implements OneInputStreamOperator<RawRecord, RawRecord> {
  private static final long serialVersionUID = 1;

  private transient PriorityQueue<Waiting> waiting;
  private transient ListState<Waiting> waitingState;

  /** The greatest timestamp so far, by partition. */
  private transient Map<Integer, Long> clocks;

  private transient ListState<Tuple2<Integer, Long>> clockState;

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    waiting = new PriorityQueue<>(Waiting.ORDER);
    waitingState =
        context
            .getOperatorStateStore()
            .getListState(new ListStateDescriptor<>("waiting", new WaitingSerializer()));
    waitingState.get().forEach(waiting::add);
    clocks = new HashMap<>();
    clockState =
        context
            .getOperatorStateStore()
            .getListState(new ListStateDescriptor<>("clocks", Types.TUPLE(Types.INT, Types.LONG)));
    clockState.get().forEach(clock -> clocks.put(clock.f0, clock.f1));
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    super.snapshotState(context);
    waitingState.update(new ArrayList<>(waiting));
    List<Tuple2<Integer, Long>> now = new ArrayList<>();
    clocks.forEach((partition, clock) -> now.add(Tuple2.of(partition, clock)));
    clockState.update(now);
  }

  @Override
  public void processElement(StreamRecord<RawRecord> element) {
    RawRecord record = element.getValue();
    waiting.add(
        new Waiting(clocks.merge(record.partition(), record.timestamp(), Math::max), record));
  }

  @Override
  public void processWatermark(Watermark mark) {
    while (!waiting.isEmpty() && waiting.peek().time() <= mark.getTimestamp()) {
      Waiting next = waiting.poll();
      output.collect(new StreamRecord<>(next.record(), next.time()));
    }
    if (mark.equals(Watermark.MAX_WATERMARK)) {
      output.emitWatermark(mark);
    }
  }
}
