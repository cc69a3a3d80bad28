package penstock.kernel.encode;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
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
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/**
 * Encodes events as feature records. Each record carries the attempt: when this run of the job
 * began, epoch ms. The attempt grows with every restart, re-submission and change of the
 * JobManager, even if no checkpoint was completed in between.
 */
public final class EncodeFunction extends RichMapFunction<Event, OutgoingRecord>
    implements CheckpointedFunction {
  private static final long serialVersionUID = 1;

  /** See {@code docs/reference/records.md}. */
  private static final String UPDATES = "updates";

  private final String planJson;
  private final String schemaJson;

  private transient FeatureEncoder encoder;
  private transient boolean hasUpdates;
  private transient List<String> views;
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
    Plan plan = Plan.parse(planJson);
    encoder = new FeatureEncoder(plan, schemaJson);
    hasUpdates = plan.hasUpdates();
    views = plan.views().stream().map(Plan.View::name).toList();
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
        event.partition, event.key, encoder.encode(event, attempt), updates(event));
  }

  /** The header that says which updating events the views saw since their last records. */
  private List<RawRecord.Header> updates(Event event) {
    if (!hasUpdates) {
      return List.of();
    }
    ObjectNode updates = JsonNodeFactory.instance.objectNode();
    for (int i = 0; i < views.size(); i++) {
      ViewValues values = event.views[i];
      if (values != null && values.updates() == null) {
        updates.putNull(views.get(i));
      } else if (values != null && !values.updates().isEmpty()) {
        ArrayNode positions = updates.putArray(views.get(i));
        values
            .updates()
            .forEach(at -> positions.addArray().add(at.source()).add(at.partition()).add(at.offset()));
      }
    }
    byte[] text = updates.toString().getBytes(StandardCharsets.UTF_8);
    return updates.isEmpty() ? List.of() : List.of(new RawRecord.Header(UPDATES, text));
  }
}
