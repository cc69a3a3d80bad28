package penstock.kernel.stage;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.state.KeyedStateStore;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.metrics.Counter;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/**
 * Drops and counts duplicates within the current key. Each source has its own state, as event ids
 * are unique within a topic, except that the topics of {@link Plan#idsOf one contract} share one.
 */
final class Deduplicator {
  private final long[] horizonsMs;

  /** Per source; null if its events have no id. */
  private final List<ValueState<SeenIds>> states = new ArrayList<>();

  private final Counter duplicates;

  Deduplicator(
      Plan plan,
      long waitMs,
      WriteBackFunction function,
      KeyedStateStore store,
      Counter duplicates) {
    this.horizonsMs = plan.sources().stream().mapToLong(Plan.Source::dedupHorizonMs).toArray();
    for (int number = 0; number < horizonsMs.length; number++) {
      if (plan.idsOf(number) < number) {
        states.add(states.get(plan.idsOf(number)));
        continue;
      }
      Plan.Source source = plan.sources().get(number);
      String name = states.isEmpty() ? "duplicates" : "duplicates-" + source.topic();
      states.add(source.identifiesEvents() ? state(function, store, name, source, waitMs) : null);
    }
    this.duplicates = duplicates;
  }

  private static ValueState<SeenIds> state(
      WriteBackFunction function,
      KeyedStateStore store,
      String name,
      Plan.Source source,
      long waitMs) {
    ValueStateDescriptor<SeenIds> descriptor =
        new ValueStateDescriptor<>(name, new SeenIdsSerializer());
    StateExpiry.of(source.maxFutureMs(), source.dedupHorizonMs(), waitMs).applyTo(descriptor);
    return function.state(store, descriptor, SeenIds::bytes);
  }

  /**
   * Whether the event is new for the current key, within the source's horizon. A new event is added
   * to the state.
   */
  boolean accept(Event event) throws IOException {
    ValueState<SeenIds> state = states.get(event.source);
    if (state == null) {
      return true;
    }
    SeenIds seen = state.value();
    if (seen == null) {
      seen = new SeenIds();
    }
    if (!seen.addIfNew(event.id, event.time, horizonsMs[event.source])) {
      duplicates.inc();
      return false;
    }
    state.update(seen);
    return true;
  }
}
