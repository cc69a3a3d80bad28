package penstock.kernel.stage;

import java.io.IOException;
import java.time.Duration;
import org.apache.flink.api.common.state.KeyedStateStore;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.metrics.Counter;
import penstock.kernel.event.Event;

/** Drops and counts events that were had before, per key of the operator that it serves. */
final class Deduplication {
  private static final long LEAST_MEMORY_MS = Duration.ofDays(1).toMillis();

  private final long horizonMs;
  private final ValueState<Duplicates> state;
  private final Counter duplicates;

  Deduplication(long horizonMs, KeyedStateStore store, Counter duplicates) {
    this.horizonMs = horizonMs;
    ValueStateDescriptor<Duplicates> descriptor =
        new ValueStateDescriptor<>("duplicates", new DuplicatesSerializer());
    // The horizon is in event time; a key that has been silent for so long by the wall clock is
    // forgotten altogether.
    descriptor.enableTimeToLive(
        StateTtlConfig.newBuilder(Duration.ofMillis(Math.max(LEAST_MEMORY_MS, 2 * horizonMs)))
            .cleanupIncrementally(1, false)
            .build());
    this.state = store.getState(descriptor);
    this.duplicates = duplicates;
  }

  /** Whether the event is the first of its id for the current key within the horizon. */
  boolean accepts(Event event) throws IOException {
    Duplicates seen = state.value();
    if (seen == null) {
      seen = new Duplicates();
    }
    if (!seen.accept(event.id, event.time, horizonMs)) {
      duplicates.inc();
      return false;
    }
    state.update(seen);
    return true;
  }
}
