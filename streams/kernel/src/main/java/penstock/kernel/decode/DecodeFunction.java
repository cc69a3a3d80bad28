package penstock.kernel.decode;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;
import penstock.kernel.Counters;
import penstock.kernel.encode.OutgoingRecord;
import penstock.kernel.encode.OutgoingRecordSerializer;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.SerializerTypeInfo;
import penstock.kernel.plan.Plan;

/** Decodes raw records to valid events. Dead letters go to side outputs. */
public final class DecodeFunction extends ProcessFunction<RawRecord, Event> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final boolean allFields;
  private final EventDecoder.DecoderSettings settings;
  private final List<Long> maxLetterBytes;
  private final boolean isReplay;

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
   */
  public DecodeFunction(
      String planJson,
      boolean allFields,
      EventDecoder.DecoderSettings settings,
      List<Long> maxLetterBytes,
      boolean isReplay) {
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
  public void open(OpenContext context) {
    Plan plan = Plan.parse(planJson);
    ColumnLayout layout = allFields ? ColumnLayout.contract(plan) : ColumnLayout.needed(plan);
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
  }

  @Override
  public void processElement(RawRecord record, Context context, Collector<Event> out)
      throws Exception {
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
    out.collect(event);
  }
}
