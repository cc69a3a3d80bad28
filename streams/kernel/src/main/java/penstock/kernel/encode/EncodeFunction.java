package penstock.kernel.encode;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.streaming.api.operators.StreamingRuntimeContext;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;
import penstock.kernel.Counters;
import penstock.kernel.decode.DeadLetterEncoder;
import penstock.kernel.decode.InvalidEventException;
import penstock.kernel.decode.InvalidEventException.Reason;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.Event;
import penstock.kernel.event.SerializerTypeInfo;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/**
 * Encodes events as feature records. Each record carries the attempt: when this run of the job
 * began, epoch ms. The attempt grows with every restart, re-submission and change of the
 * JobManager, even if no checkpoint was completed in between.
 *
 * <p>A record that is too long to publish becomes a dead letter with an excerpt.
 */
public final class EncodeFunction extends ProcessFunction<Event, OutgoingRecord>
    implements CheckpointedFunction {
  /** The side output for the letters of records that are too long. */
  public static final OutputTag<OutgoingRecord> DEAD_LETTERS =
      new OutputTag<>(
          "unpublished",
          new SerializerTypeInfo<>(OutgoingRecord.class, new OutgoingRecordSerializer()));

  private static final long serialVersionUID = 1;

  /** See {@code docs/reference/records.md}. */
  private static final String UPDATES = "updates";

  private final String planJson;
  private final String schemaJson;
  private final long maxBytes;
  private final long maxLetterBytes;

  private transient FeatureEncoder encoder;
  private transient boolean hasUpdates;
  private transient List<String> views;
  private transient Counter records;
  private transient Counter timerRecords;
  private transient Counter deadLetters;
  private transient String pipeline;
  private transient List<Plan.Source> sources;

  /**
   * The attempt, which all subtasks share. It keeps the attempt growing if the clock is set back.
   */
  private transient ListState<Long> state;

  private transient long attempt;

  /**
   * For the events of a plan.
   *
   * @param schemaJson the schema of its feature records
   * @param maxBytes of the longest record to publish
   * @param maxLetterBytes of the longest letter
   */
  public EncodeFunction(String planJson, String schemaJson, long maxBytes, long maxLetterBytes) {
    this.planJson = planJson;
    this.schemaJson = schemaJson;
    this.maxBytes = maxBytes;
    this.maxLetterBytes = maxLetterBytes;
  }

  @Override
  public void open(OpenContext context) {
    Plan plan = Plan.parse(planJson);
    pipeline = plan.pipeline();
    sources = plan.sources();
    encoder = new FeatureEncoder(plan, schemaJson);
    hasUpdates = plan.hasUpdates();
    views = plan.views().stream().map(Plan.View::name).toList();
    Counters counters = new Counters(getRuntimeContext());
    records = counters.counter("records");
    timerRecords = counters.counter("timer_records");
    deadLetters = counters.counter("reason", Reason.FEATURES_TOO_LARGE.label, "dead_letters");
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
  public void processElement(Event event, Context context, Collector<OutgoingRecord> out)
      throws Exception {
    OutgoingRecord record =
        new OutgoingRecord(
            event.partition, event.key, encoder.encode(event, attempt), updates(event));
    if (record.bytes() > maxBytes) {
      deadLetters.inc();
      context.output(DEAD_LETTERS, letter(event, record));
      return;
    }
    records.inc();
    if (event.isTimer) {
      timerRecords.inc();
    }
    out.collect(record);
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

  private OutgoingRecord letter(Event event, OutgoingRecord record) {
    String message =
        "the feature record takes %d bytes, more than the %d allowed"
            .formatted(record.bytes(), maxBytes);
    return DeadLetterEncoder.unpublished(
        new DeadLetterEncoder.Place(
            pipeline, sources.get(event.source).topic(), event.partition, event.offset),
        event.key,
        encoder.excerpt(event, attempt),
        record.headers(),
        record.value().length,
        new InvalidEventException(Reason.FEATURES_TOO_LARGE, message),
        maxLetterBytes);
  }
}
