package penstock.kernel.encode;

import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.operators.StreamingRuntimeContext;
import penstock.kernel.Counters;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/**
 * Encodes events as feature records. Each record carries the attempt: when this run of the job
 * began, epoch ms. The attempt grows with every restart, re-submission and change of the
 * JobManager, even if no checkpoint was completed in between.
 */
public final class EncodeFunction extends RichMapFunction<Event, OutgoingRecord>
    implements CheckpointedFunction {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final String schemaJson;

  private transient FeatureEncoder encoder;
  private transient Counter records;
  private transient Counter timerRecords;

  /**
   * The attempt, which all subtasks share. It keeps the attempt growing if the clock is set back.
   */
  private transient ListState<Long> state;

  private transient long attempt;

  /** For the events of a plan. {@code schemaJson} is the schema of its feature records. */
  public EncodeFunction(String planJson, String schemaJson) {
    this.planJson = planJson;
    this.schemaJson = schemaJson;
  }

  @Override
  public void open(OpenContext context) {
    encoder = new FeatureEncoder(Plan.parse(planJson), schemaJson);
    Counters counters = new Counters(getRuntimeContext());
    records = counters.counter("records");
    timerRecords = counters.counter("timer_records");
  }

  @Override
  public void initializeState(FunctionInitializationContext context) throws Exception {
    state =
        context
            .getOperatorStateStore()
            .getUnionListState(new ListStateDescriptor<>("attempt", Types.LONG));
    attempt = RunStart.agree((StreamingRuntimeContext) getRuntimeContext());
    for (long stored : state.get()) {
      attempt = Math.max(attempt, stored + 1);
    }
  }

  @Override
  public void snapshotState(FunctionSnapshotContext context) throws Exception {
    state.update(List.of(attempt));
  }

  @Override
  public OutgoingRecord map(Event event) throws Exception {
    records.inc();
    if (event.isTimer) {
      timerRecords.inc();
    }
    return new OutgoingRecord(
        event.partition, event.key, encoder.encode(event, attempt), List.of());
  }
}
