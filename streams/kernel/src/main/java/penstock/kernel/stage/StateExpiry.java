package penstock.kernel.stage;

import java.time.Duration;
import org.apache.flink.api.common.state.StateDescriptor;
import org.apache.flink.api.common.state.StateTtlConfig;
import penstock.kernel.plan.Plan;

/**
 * When the state of an idle key expires, and in which epoch the key starts again.
 *
 * <p>State is needed for {@code reachMs} of event time, but Flink measures time to live by the wall
 * clock. An event after {@code afterMs} without events has waited in its topic for at most {@code
 * waitMs}, and the event before it was at most {@code maxFutureMs} ahead of the clock. So the two
 * are at least {@code reachMs} of event time apart, unless the event is late. Neither downtime nor
 * a backlog changes a value.
 */
final class StateExpiry {
  /** The state never expires. */
  private static final long NEVER = Long.MAX_VALUE;

  private final long afterMs;

  private StateExpiry(long afterMs) {
    this.afterMs = afterMs;
  }

  /**
   * For state that is needed for {@code reachMs} of event time.
   *
   * @param maxFutureMs how far an event may be ahead of the clock
   * @param waitMs how long an event may wait in its topic, or be late
   */
  static StateExpiry of(long maxFutureMs, long reachMs, long waitMs) {
    long afterMs = reachMs + maxFutureMs + waitMs;
    // A lifetime window never ends. Shorter durations may add up to more than a long holds.
    return new StateExpiry(reachMs >= Plan.LIFETIME_MS || afterMs < reachMs ? NEVER : afterMs);
  }

  /** Sets the time to live of the state. */
  void applyTo(StateDescriptor<?, ?> descriptor) {
    if (afterMs != NEVER) {
      descriptor.enableTimeToLive(
          StateTtlConfig.newBuilder(Duration.ofMillis(afterMs))
              .cleanupFullSnapshot()
              .cleanupIncrementally(1, false)
              .cleanupInRocksdbCompactFilter(1_000)
              .build());
    }
  }

  /**
   * The epoch of a view that starts for a key now. {@code first} is the view's epoch when the job
   * started. Epochs advance in steps of the time to live: a new epoch is greater than any that the
   * key had before, and the same for all keys that start within one step.
   */
  long epoch(long first, long nowMs) {
    return first + Math.max(0, nowMs - first) / afterMs * afterMs;
  }
}
