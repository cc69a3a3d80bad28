package penstock.kernel.encode;

import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/**
 * The last step: events become feature records, marked with the attempt that emits them. Attempts
 * are counted over all restarts and re-submissions of the job that continue the same state.
 */
public final class EncodeFunction extends RichMapFunction<Event, Outgoing>
    implements CheckpointedFunction {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final String schemaJson;
  private final long submissionMs;

  private transient FeatureEncoder encoder;

  /** (submission, attempt at its start, attempt now), the same of all subtasks. */
  private transient ListState<Tuple3<Long, Long, Long>> state;

  private transient long base;
  private transient long attempt;

  /** For the events of the plan; {@code schemaJson} is that of its feature records. */
  public EncodeFunction(String planJson, String schemaJson, long submissionMs) {
    this.planJson = planJson;
    this.schemaJson = schemaJson;
    this.submissionMs = submissionMs;
  }

  @Override
  public void open(OpenContext context) {
    encoder = new FeatureEncoder(Plan.parse(planJson), schemaJson);
  }

  @Override
  public void initializeState(FunctionInitializationContext context) throws Exception {
    state =
        context
            .getOperatorStateStore()
            .getUnionListState(
                new ListStateDescriptor<>(
                    "attempts", Types.TUPLE(Types.LONG, Types.LONG, Types.LONG)));
    base = 0;
    for (Tuple3<Long, Long, Long> stored : state.get()) {
      base = Math.max(base, stored.f0 == submissionMs ? stored.f1 : stored.f2 + 1);
    }
    attempt = base + getRuntimeContext().getTaskInfo().getAttemptNumber();
  }

  @Override
  public void snapshotState(FunctionSnapshotContext context) throws Exception {
    state.clear();
    state.add(Tuple3.of(submissionMs, base, attempt));
  }

  @Override
  public Outgoing map(Event event) throws Exception {
    return new Outgoing(event.partition, event.key, encoder.encode(event, attempt), List.of());
  }
}
