package penstock.kernel.stage;

import java.time.Duration;
import org.apache.flink.api.common.state.StateDescriptor;
import org.apache.flink.api.common.state.StateTtlConfig;
import penstock.kernel.plan.Plan;

/**
 * When the state of a key that has gone silent is given up, and in which epoch such a key begins
 * again.
 *
 * <p>State is of use for a reach in event time, Flink measures silence by the wall clock. An event
 * that is taken after {@code afterMs} of silence has waited in its topic for {@code waitMs} at the
 * most, and what was taken last was at most {@code maxFutureMs} ahead of the clock: the two are a
 * reach apart, unless the event is late. So neither downtime nor a backlog changes a value.
 */
final class StateExpiry {
  /** What a key that is never forgotten waits for. */
  private static final long NEVER = Long.MAX_VALUE;

  private final long afterMs;

  private StateExpiry(long afterMs) {
    this.afterMs = afterMs;
  }

  /**
   * For state that is of use for {@code reachMs}.
   *
   * @param maxFutureMs how far an event may be ahead of the clock
   * @param waitMs how long an event may wait in its topic, or be late
   */
  static StateExpiry of(long maxFutureMs, long reachMs, long waitMs) {
    // A lifetime has no end.
    return new StateExpiry(reachMs >= Plan.LIFETIME_MS ? NEVER : reachMs + maxFutureMs + waitMs);
  }

  /** Gives the state of that description a time to live. */
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
   * The epoch of a view that begins for a key now, if it was {@code first} when the job began. It
   * goes up in steps of the time after which a key is forgotten: so it is greater than any in which
   * the key can have been before, and the same for all that begins within a step.
   */
  long epoch(long first, long nowMs) {
    return first + Math.max(0, nowMs - first) / afterMs * afterMs;
  }
}
