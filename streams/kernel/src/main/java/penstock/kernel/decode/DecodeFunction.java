package penstock.kernel.decode;

import java.util.EnumMap;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;
import penstock.kernel.Counters;
import penstock.kernel.encode.Outgoing;
import penstock.kernel.encode.OutgoingSerializer;
import penstock.kernel.event.Event;
import penstock.kernel.event.Layout;
import penstock.kernel.event.SerializerTypeInfo;
import penstock.kernel.plan.Plan;

/** The first step: raw records become valid events, or dead letters on the side output. */
public final class DecodeFunction extends ProcessFunction<RawRecord, Event> {
  private static final long serialVersionUID = 1;

  /** Where dead letters leave the operator. */
  public static final OutputTag<Outgoing> DEAD_LETTERS =
      new OutputTag<>(
          "dead-letters", new SerializerTypeInfo<>(Outgoing.class, new OutgoingSerializer()));

  private final String planJson;
  private final boolean allFields;
  private final EventDecoder.Settings settings;

  private transient EventDecoder decoder;
  private transient String topic;
  private transient Counter events;
  private transient Map<Refused.Reason, Counter> deadLetters;

  /**
   * For the plan's source.
   *
   * @param allFields whether the events carry all fields of the contract, for SQL, or only those
   *     that the stages need
   */
  public DecodeFunction(String planJson, boolean allFields, EventDecoder.Settings settings) {
    this.planJson = planJson;
    this.allFields = allFields;
    this.settings = settings;
  }

  @Override
  public void open(OpenContext context) {
    Plan plan = Plan.parse(planJson);
    decoder =
        new EventDecoder(plan, allFields ? Layout.contract(plan) : Layout.needed(plan), settings);
    topic = plan.source().topic();
    Counters counters = new Counters(getRuntimeContext());
    events = counters.counter("events");
    deadLetters = new EnumMap<>(Refused.Reason.class);
    for (Refused.Reason reason : Refused.Reason.values()) {
      deadLetters.put(reason, counters.counter("reason", reason.label, "dead_letters"));
    }
  }

  @Override
  public void processElement(RawRecord record, Context context, Collector<Event> out)
      throws Exception {
    events.inc();
    Event event;
    try {
      event = decoder.decode(record);
    } catch (Refused refused) {
      deadLetters.get(refused.reason).inc();
      context.output(DEAD_LETTERS, DeadLetters.of(topic, record, refused));
      return;
    }
    out.collect(event);
  }
}
