package penstock.kernel.order;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import penstock.kernel.Counters;
import penstock.kernel.event.Event;

/**
 * Sorts the events of a key by (event time, source, partition, offset). An event waits until the
 * watermark has passed its time. A later one passes at once, out of order, and is counted.
 */
public final class EventTimeSorter extends KeyedProcessFunction<String, Event, Event> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final boolean counts;

  private transient EventSchema schema;
  private transient MapState<Long, BufferedEvents> buffered;
  private transient Counter exceeded;

  /**
   * For the events of a plan, keyed as the stage that follows.
   *
   * @param counts whether to count events that come too late; true before the first stage only
   */
  public EventTimeSorter(String planJson, boolean counts) {
    this.planJson = planJson;
    this.counts = counts;
  }

  @Override
  public void open(OpenContext context) {
    BufferedEventsSerializer serializer = new BufferedEventsSerializer(planJson);
    schema = serializer.schema();
    buffered =
        getRuntimeContext()
            .getMapState(new MapStateDescriptor<>("held", LongSerializer.INSTANCE, serializer));
    if (counts) {
      exceeded = new Counters(getRuntimeContext()).counter("disorder_exceeded");
    }
  }

  @Override
  public void processElement(Event event, Context context, Collector<Event> out) throws Exception {
    if (event.isTimer) {
      out.collect(event);
      return;
    }
    if (event.time <= context.timerService().currentWatermark()) {
      if (counts) {
        exceeded.inc();
      }
      out.collect(event);
      return;
    }
    BufferedEvents sameTime = buffered.get(event.time);
    sameTime = sameTime == null ? new BufferedEvents(schema) : schema.migrate(sameTime);
    sameTime.events.add(event);
    buffered.put(event.time, sameTime);
    context.timerService().registerEventTimeTimer(event.time);
  }

  @Override
  public void onTimer(long time, OnTimerContext context, Collector<Event> out) throws Exception {
    BufferedEvents due = buffered.get(time);
    if (due != null) {
      buffered.remove(time);
      schema.migrate(due).inOrder().forEach(out::collect);
    }
  }
}
