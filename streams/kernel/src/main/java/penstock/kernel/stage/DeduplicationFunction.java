package penstock.kernel.stage;

import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.util.Collector;
import penstock.kernel.Counters;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/** De-duplicates in an operator of its own, if the first stage is not keyed by the source's key. */
public final class DeduplicationFunction extends WriteBackFunction {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final long waitMs;
  private transient Deduplicator deduplicator;

  /**
   * For the plan's sources, each with its own horizon.
   *
   * @param waitMs how long an event may wait in its topic
   */
  public DeduplicationFunction(String planJson, long waitMs) {
    this.planJson = planJson;
    this.waitMs = waitMs;
  }

  @Override
  public void initializeState(FunctionInitializationContext context) {
    deduplicator =
        new Deduplicator(
            Plan.parse(planJson),
            waitMs,
            this,
            context.getKeyedStateStore(),
            new Counters(getRuntimeContext()).counter("duplicates"));
  }

  @Override
  public void processElement(Event event, Context context, Collector<Event> out) throws Exception {
    if (deduplicator.accept(event)) {
      out.collect(event);
    }
  }
}
