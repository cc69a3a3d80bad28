package penstock.kernel.stage;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.state.KeyedStateStore;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.metrics.Counter;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/**
 * Drops and counts events that were had before, per key of the operator that it serves. Each source
 * has a memory of its own: an id is one of its topic.
 */
final class Deduplication {
  private static final long LEAST_MEMORY_MS = Duration.ofDays(1).toMillis();

  private final long[] horizonsMs;

  /** Of each source; null of one that does not identify its events. */
  private final List<ValueState<Duplicates>> states = new ArrayList<>();

  private final Counter duplicates;

  Deduplication(Plan plan, KeyedStateStore store, Counter duplicates) {
    this.horizonsMs = plan.sources().stream().mapToLong(Plan.Source::dedupHorizonMs).toArray();
    for (Plan.Source source : plan.sources()) {
      String name = states.isEmpty() ? "duplicates" : "duplicates-" + source.topic();
      states.add(source.identifiesEvents() ? state(store, name, source.dedupHorizonMs()) : null);
    }
    this.duplicates = duplicates;
  }

  private static ValueState<Duplicates> state(KeyedStateStore store, String name, long horizonMs) {
    ValueStateDescriptor<Duplicates> descriptor =
        new ValueStateDescriptor<>(name, new DuplicatesSerializer());
    // The horizon is in event time; a key that has been silent for so long by the wall clock is
    // forgotten altogether.
    descriptor.enableTimeToLive(
        StateTtlConfig.newBuilder(Duration.ofMillis(Math.max(LEAST_MEMORY_MS, 2 * horizonMs)))
            .cleanupIncrementally(1, false)
            .build());
    return store.getState(descriptor);
  }

  /** Whether the event is the first of its id for the current key within the horizon. */
  boolean accepts(Event event) throws IOException {
    ValueState<Duplicates> state = states.get(event.source);
    if (state == null) {
      return true;
    }
    Duplicates seen = state.value();
    if (seen == null) {
      seen = new Duplicates();
    }
    if (!seen.accept(event.id, event.time, horizonsMs[event.source])) {
      duplicates.inc();
      return false;
    }
    state.update(seen);
    return true;
  }
}
