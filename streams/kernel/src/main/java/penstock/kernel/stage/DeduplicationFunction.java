package penstock.kernel.stage;

import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import penstock.kernel.Counters;
import penstock.kernel.event.Event;

/**
 * De-duplication as a stage of its own: for sources that are not keyed by the first stage's entity.
 */
public final class DeduplicationFunction extends KeyedProcessFunction<String, Event, Event>
    implements CheckpointedFunction {
  private static final long serialVersionUID = 1;

  private final long horizonMs;
  private transient Deduplication deduplication;

  /** Remembers ids for {@code horizonMs} of event time. */
  public DeduplicationFunction(long horizonMs) {
    this.horizonMs = horizonMs;
  }

  @Override
  public void initializeState(FunctionInitializationContext context) {
    deduplication =
        new Deduplication(
            horizonMs,
            context.getKeyedStateStore(),
            new Counters(getRuntimeContext()).counter("duplicates"));
  }

  @Override
  public void snapshotState(FunctionSnapshotContext context) {}

  @Override
  public void processElement(Event event, Context context, Collector<Event> out) throws Exception {
    if (deduplication.accepts(event)) {
      out.collect(event);
    }
  }
}
