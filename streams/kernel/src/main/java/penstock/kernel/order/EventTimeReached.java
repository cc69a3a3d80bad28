package penstock.kernel.order;

import java.util.HashMap;
import java.util.Map;
import java.util.function.LongSupplier;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import penstock.kernel.event.Event;

/**
 * How far event time has come: a fixed disorder behind the least advanced partition of the sources.
 * A partition that has brought nothing for a while is idle and not waited for; when all are, what
 * has come is all that there is, and event time moves on to the newest event.
 *
 * <p>A live job measures silence by the wall clock, but never more than {@link #LONGEST_STEP_MS}
 * from one look at it to the next: a task that was held up has heard nothing from anyone. A replay
 * measures it by the records' Kafka timestamps, so that two replays agree.
 *
 * <p>Which partitions there are is not known before they speak: until {@code expected} have, or the
 * time after which one is idle has passed, there is no watermark.
 */
public final class EventTimeReached implements WatermarkGenerator<Event> {
  private static final long LONGEST_STEP_MS = 1_000;

  /** Within the disorder there are at most so many watermarks: each passes through all stages. */
  private static final long STEPS = 100;

  private final long disorderMs;
  private final long idleAfterMs;
  private final int expected;

  /** Epoch ms in a live job; null in a replay. */
  private final LongSupplier wallClock;

  private final Map<Place, Partition> partitions = new HashMap<>();
  private long lastLook = Long.MIN_VALUE;

  /** What silence is measured by, ms, and where it began. */
  private long clock;

  private long began;
  private long newest = Long.MIN_VALUE;
  private long reached = Long.MIN_VALUE;
  private boolean idle;

  private record Place(int source, int partition) {}

  private static final class Partition {
    long newest = Long.MIN_VALUE;
    long heard;
  }

  /**
   * A generator for one task.
   *
   * @param expected how many partitions the task reads
   * @param wallClock epoch ms, or null to go by the records' Kafka timestamps
   */
  public EventTimeReached(long disorderMs, long idleAfterMs, int expected, LongSupplier wallClock) {
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
        began = clock;
      }
      clock = Math.max(clock, event.timestamp);
      // What this event ends may have been a silence of all partitions.
      advance(1, output);
    }
    Partition partition =
        partitions.computeIfAbsent(
            new Place(event.source, event.partition), place -> new Partition());
    partition.heard = clock;
    partition.newest = Math.max(partition.newest, event.time);
    newest = Math.max(newest, event.time);
    if (idle) {
      output.markActive();
      idle = false;
    }
    advance(Math.max(1, disorderMs / STEPS), output);
  }

  @Override
  public void onPeriodicEmit(WatermarkOutput output) {
    if (wallClock == null) {
      return;
    }
    long now = wallClock.getAsLong();
    if (lastLook != Long.MIN_VALUE) {
      clock += Math.max(0, Math.min(LONGEST_STEP_MS, now - lastLook));
    }
    lastLook = now;
    advance(1, output);
  }

  /** How far the watermark is behind the newest event, ms; 0 before there is one. */
  long lagMs() {
    return reached == Long.MIN_VALUE ? 0 : newest - reached;
  }

  private void advance(long step, WatermarkOutput output) {
    if (idle || (partitions.size() < expected && clock - began <= idleAfterMs)) {
      return;
    }
    long least = Long.MAX_VALUE;
    for (Partition partition : partitions.values()) {
      if (clock - partition.heard <= idleAfterMs) {
        least = Math.min(least, partition.newest);
      }
    }
    boolean silent = least == Long.MAX_VALUE;
    long candidate = silent ? newest : least - disorderMs - 1;
    if (reached == Long.MIN_VALUE ? candidate > reached : candidate - reached >= step) {
      reached = candidate;
      output.emitWatermark(new Watermark(candidate));
    }
    if (silent && wallClock != null) {
      output.markIdle();
      idle = true;
    }
  }
}
