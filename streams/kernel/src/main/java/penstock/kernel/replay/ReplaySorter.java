package penstock.kernel.replay;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
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
 *
 * <p>It also keeps the replay to a rate, because Flink cannot limit a source whose splits are
 * aligned.
 */
public final class ReplaySorter extends AbstractStreamOperator<RawRecord>
    implements OneInputStreamOperator<RawRecord, RawRecord> {
  private static final long serialVersionUID = 1;
  private static final long SHORTEST_WAIT_NS = 5_000_000;
  private static final long SECOND_NS = 1_000_000_000;

  private final long maxPerS;

  /** When the next record is due. */
  private transient long dueNs;

  /** The records of each partition that wait, in the order of their offsets and so of their times. */
  private transient Map<SourcePartition, ArrayDeque<QueuedRecord>> queued;

  /** The partitions that have some, by their first records. */
  private transient PriorityQueue<ArrayDeque<QueuedRecord>> heads;

  private transient ListState<QueuedRecord> queuedState;

  /** The greatest Kafka timestamp so far. */
  private transient Map<SourcePartition, Long> clocks;

  private transient ListState<Tuple3<Integer, Integer, Long>> clockState;

  /** With at most so many records per second; 0: no limit. */
  public ReplaySorter(long maxPerS) {
    this.maxPerS = maxPerS;
  }

  @Override
  public void initializeState(StateInitializationContext context) throws Exception {
    super.initializeState(context);
    dueNs = System.nanoTime();
    queued = new HashMap<>();
    heads = new PriorityQueue<>(Comparator.comparing(ArrayDeque::peekFirst, QueuedRecord.ORDER));
    queuedState =
        context
            .getOperatorStateStore()
            .getListState(new ListStateDescriptor<>("waiting", new QueuedRecordSerializer()));
    List<QueuedRecord> restored = new ArrayList<>();
    queuedState.get().forEach(restored::add);
    restored.sort(QueuedRecord.ORDER);
    restored.forEach(one -> add(partition(one.record()), one));
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
    List<QueuedRecord> waiting = new ArrayList<>();
    queued.values().forEach(waiting::addAll);
    queuedState.update(waiting);
    List<Tuple3<Integer, Integer, Long>> now = new ArrayList<>();
    clocks.forEach(
        (partition, clock) -> now.add(Tuple3.of(partition.source(), partition.partition(), clock)));
    clockState.update(now);
  }

  @Override
  public void processElement(StreamRecord<RawRecord> element) throws InterruptedException {
    if (maxPerS > 0) {
      pace();
    }
    RawRecord record = element.getValue();
    SourcePartition partition = partition(record);
    long time = clocks.merge(partition, record.timestamp(), Math::max);
    add(partition, new QueuedRecord(time, record));
  }

  /** Waits until a record is due. What was not used of the rate is lost after a second. */
  private void pace() throws InterruptedException {
    long now = System.nanoTime();
    dueNs = Math.max(dueNs, now - SECOND_NS) + SECOND_NS / maxPerS;
    if (dueNs - now > SHORTEST_WAIT_NS) {
      Thread.sleep((dueNs - now) / 1_000_000);
    }
  }

  private static SourcePartition partition(RawRecord record) {
    return new SourcePartition(record.source(), record.partition());
  }

  private void add(SourcePartition partition, QueuedRecord next) {
    ArrayDeque<QueuedRecord> records =
        queued.computeIfAbsent(partition, none -> new ArrayDeque<>());
    records.addLast(next);
    if (records.size() == 1) {
      heads.add(records);
    }
  }

  @Override
  public void processWatermark(Watermark mark) {
    while (!heads.isEmpty() && heads.peek().peekFirst().time() <= mark.getTimestamp()) {
      ArrayDeque<QueuedRecord> records = heads.poll();
      QueuedRecord next = records.pollFirst();
      if (!records.isEmpty()) {
        heads.add(records);
      }
      output.collect(new StreamRecord<>(next.record(), next.time()));
    }
    if (mark.equals(Watermark.MAX_WATERMARK)) {
      output.emitWatermark(mark);
    }
  }
}
