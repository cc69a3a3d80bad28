package penstock.kernel.decode;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.LongSupplier;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;
import penstock.kernel.Counters;
import penstock.kernel.encode.OutgoingRecord;
import penstock.kernel.encode.OutgoingRecordSerializer;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.SerializerTypeInfo;
import penstock.kernel.lookup.LookupReader;
import penstock.kernel.lookup.LookupTables;
import penstock.kernel.plan.Plan;

/**
 * Decodes raw records to valid events, and gives these what lookups find. Dead letters go to side
 * outputs.
 *
 * <p>In a live job, a {@link LookupReader} reads reference data. In a replay, it is among the
 * records, in their order, and its rows are in the state.
 */
public final class DecodeFunction extends ProcessFunction<RawRecord, Event>
    implements CheckpointedFunction {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final boolean allFields;
  private final EventDecoder.DecoderSettings settings;
  private final List<Long> maxLetterBytes;
  private final boolean isReplay;
  private final Properties kafka;

  private transient LookupTables lookups;
  private transient LookupReader reader;
  private transient ListState<Tuple3<Integer, String, byte[]>> rows;
  private transient String pipeline;
  private transient List<EventDecoder> decoders;
  private transient List<OutputTag<OutgoingRecord>> outputs;
  private transient List<Plan.Source> sources;
  private transient Counter events;
  private transient Counter ignored;
  private transient Map<InvalidEventException.Reason, Counter> deadLetters;

  /**
   * For the plan's sources.
   *
   * @param allFields whether events carry all fields of the contract, for SQL, or only those that
   *     the stages need
   * @param maxLetterBytes per source, the bytes of its longest letter
   * @param isReplay whether events are judged by Kafka's timestamps alone, so that every replay of
   *     them gives the same
   * @param kafka settings of the clients that read reference data
   */
  public DecodeFunction(
      String planJson,
      boolean allFields,
      EventDecoder.DecoderSettings settings,
      List<Long> maxLetterBytes,
      boolean isReplay,
      Properties kafka) {
    this.kafka = kafka;
    this.maxLetterBytes = new ArrayList<>(maxLetterBytes);
    this.planJson = planJson;
    this.allFields = allFields;
    this.settings = settings;
    this.isReplay = isReplay;
  }

  /** The side output for the dead letters of source number {@code source}. */
  public static OutputTag<OutgoingRecord> deadLetters(int source) {
    return new OutputTag<>(
        "dead-letters-" + source,
        new SerializerTypeInfo<>(OutgoingRecord.class, new OutgoingRecordSerializer()));
  }

  @Override
  public void initializeState(FunctionInitializationContext context) throws Exception {
    Plan plan = Plan.parse(planJson);
    if (plan.lookups().isEmpty()) {
      return;
    }
    lookups = new LookupTables(plan, layout(plan), settings);
    if (isReplay) {
      rows =
          context
              .getOperatorStateStore()
              .getListState(
                  new ListStateDescriptor<>(
                      "lookups",
                      Types.TUPLE(
                          Types.INT,
                          Types.STRING,
                          PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO)));
      for (Tuple3<Integer, String, byte[]> row : rows.get()) {
        lookups.restore(row.f0, row.f1, row.f2);
      }
    }
  }

  @Override
  public void snapshotState(FunctionSnapshotContext context) throws Exception {
    if (rows != null) {
      List<Tuple3<Integer, String, byte[]>> now = new ArrayList<>();
      lookups.snapshot((lookup, key, row) -> now.add(Tuple3.of(lookup, key, row)));
      rows.update(now);
    }
  }

  private ColumnLayout layout(Plan plan) {
    return allFields ? ColumnLayout.contract(plan) : ColumnLayout.needed(plan);
  }

  @Override
  public void open(OpenContext context) throws Exception {
    Plan plan = Plan.parse(planJson);
    ColumnLayout layout = layout(plan);
    pipeline = plan.pipeline();
    sources = plan.sources();
    decoders = new ArrayList<>();
    outputs = new ArrayList<>();
    LongSupplier clock = isReplay ? EventDecoder.NO_CLOCK : System::currentTimeMillis;
    for (int i = 0; i < sources.size(); i++) {
      decoders.add(new EventDecoder(plan, i, layout, settings, clock));
      outputs.add(deadLetters(i));
    }
    Counters counters = new Counters(getRuntimeContext());
    events = counters.counter("events");
    ignored =
        sources.stream().anyMatch(source -> source.envelope() != null)
            ? counters.counter("events_not_accepted")
            : null;
    deadLetters = new EnumMap<>(InvalidEventException.Reason.class);
    for (InvalidEventException.Reason reason : InvalidEventException.Reason.values()) {
      deadLetters.put(reason, counters.counter("reason", reason.label, "dead_letters"));
    }
    if (lookups != null) {
      lookups.measure(counters);
      if (!isReplay) {
        reader = new LookupReader(lookups, kafka);
        reader.start();
      }
    }
  }

  @Override
  public void close() throws Exception {
    if (reader != null) {
      reader.close();
    }
  }

  @Override
  public void processElement(RawRecord record, Context context, Collector<Event> out)
      throws Exception {
    if (record.source() < 0) {
      lookups.apply(-1 - record.source(), record);
      return;
    }
    if (reader != null) {
      reader.requireAlive();
    }
    events.inc();
    Event event;
    try {
      event = decoders.get(record.source()).decode(record);
    } catch (InvalidEventException invalid) {
      deadLetters.get(invalid.reason).inc();
      String topic = sources.get(record.source()).topic();
      context.output(
          outputs.get(record.source()),
          DeadLetterEncoder.encode(
              pipeline, topic, record, invalid, maxLetterBytes.get(record.source())));
      return;
    }
    if (event == null) {
      ignored.inc();
      return;
    }
    if (lookups != null) {
      lookups.join(event);
    }
    out.collect(event);
  }
}
