package penstock.kernel.order;

import java.util.HashMap;
import java.util.Map;
import java.util.function.LongSupplier;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import penstock.kernel.event.Event;
import penstock.kernel.event.SourcePartition;

/**
 * Event-time watermarks: a fixed disorder behind the slowest partition of the sources. A partition
 * without records for some time is idle and ignored. When all are idle, the watermark moves on to
 * the newest event.
 *
 * <p>A live job measures idle time by the wall clock, in steps of at most {@link
 * #MAX_CLOCK_STEP_MS}: after a pause of the task itself, partitions are not idle. A replay measures
 * it by Kafka timestamps, so that all replays agree.
 *
 * <p>The task learns of a partition by its first record. There is no watermark until {@code
 * expected} partitions have had one, or the idle time has passed.
 */
public final class EventTimeWatermarks implements WatermarkGenerator<Event> {
  private static final long MAX_CLOCK_STEP_MS = 1_000;

  /** Watermarks per disorder at most, as each passes through all stages. */
  private static final long STEPS_PER_DISORDER = 100;

  private final long disorderMs;
  private final long idleAfterMs;
  private final int expected;

  /** Epoch ms in a live job; null in a replay. */
  private final LongSupplier wallClock;

  private final Map<SourcePartition, PartitionProgress> partitions = new HashMap<>();
  private long lastTick = Long.MIN_VALUE;

  /** The clock for idle times, ms, and its first value. */
  private long clock;

  private long startClock;
  private long newest = Long.MIN_VALUE;
  private long watermark = Long.MIN_VALUE;
  private boolean idle;

  private static final class PartitionProgress {
    long newest = Long.MIN_VALUE;
    long lastHeard;
  }

  /**
   * A generator for one task.
   *
   * @param expected how many partitions the task reads
   * @param wallClock epoch ms; null to use Kafka timestamps
   */
  public EventTimeWatermarks(
      long disorderMs, long idleAfterMs, int expected, LongSupplier wallClock) {
    this.disorderMs = disorderMs;
    this.idleAfterMs = idleAfterMs;
    this.expected = expected;
    this.wallClock = wallClock;
  }

  @Override
  public void onEvent(Event event, long timestamp, WatermarkOutput output) {
    if (wallClock == null) {
      if (partitions.isEmpty()) {
        clock = event.timestamp;
        startClock = clock;
      }
      clock = Math.max(clock, event.timestamp);
      // All partitions may have been idle before this event.
      advance(1, output);
    }
    PartitionProgress partition =
        partitions.computeIfAbsent(
            new SourcePartition(event.source, event.partition), key -> new PartitionProgress());
    partition.lastHeard = clock;
    partition.newest = Math.max(partition.newest, event.time);
    newest = Math.max(newest, event.time);
    if (idle) {
      output.markActive();
      idle = false;
    }
    advance(Math.max(1, disorderMs / STEPS_PER_DISORDER), output);
  }

  @Override
  public void onPeriodicEmit(WatermarkOutput output) {
    if (wallClock == null) {
      return;
    }
    long now = wallClock.getAsLong();
    if (lastTick != Long.MIN_VALUE) {
      clock += Math.max(0, Math.min(MAX_CLOCK_STEP_MS, now - lastTick));
    }
    lastTick = now;
    advance(1, output);
  }

  /** How far the watermark is behind the newest event, ms; 0 before the first watermark. */
  long lagMs() {
    return watermark == Long.MIN_VALUE ? 0 : newest - watermark;
  }

  /** The watermark behind a time; the least long if it would be earlier. */
  private long before(long time) {
    long behind = time - disorderMs - 1;
    return behind < time ? behind : Long.MIN_VALUE;
  }

  private void advance(long step, WatermarkOutput output) {
    if (idle || (partitions.size() < expected && clock - startClock <= idleAfterMs)) {
      return;
    }
    long slowest = Long.MAX_VALUE;
    boolean allIdle = true;
    for (PartitionProgress partition : partitions.values()) {
      if (clock - partition.lastHeard <= idleAfterMs) {
        slowest = Math.min(slowest, partition.newest);
        allIdle = false;
      }
    }
    long candidate = allIdle ? newest : before(slowest);
    // The least long stands for no watermark. Unsigned: the difference may be more than a long.
    if (candidate > watermark
        && (watermark == Long.MIN_VALUE
            || Long.compareUnsigned(candidate - watermark, step) >= 0)) {
      watermark = candidate;
      output.emitWatermark(new Watermark(candidate));
    }
    if (allIdle && wallClock != null) {
      output.markIdle();
      idle = true;
    }
  }
}
