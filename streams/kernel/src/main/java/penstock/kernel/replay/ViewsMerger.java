package penstock.kernel.replay;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import penstock.kernel.event.Event;

/**
 * Puts the views that the stages have computed for an event into one event again, in the order of
 * {@link Numbering}. A source partition must have one task.
 *
 * <p>It has no state, because nothing waits here when a checkpoint begins; see {@link Numbering}.
 * So checkpoints must be aligned.
 */
public final class ViewsMerger extends AbstractStreamOperator<Event>
    implements OneInputStreamOperator<Event, Event> {
  private static final long serialVersionUID = 1;

  /** The offset of an event that carries only its views. */
  private static final long VIEWS_ONLY = -1;

  /** By their numbers. */
  private transient Map<Long, Event> waiting;

  private transient long released;

  @Override
  public void open() throws Exception {
    super.open();
    waiting = new HashMap<>();
  }

  @Override
  public void processElement(StreamRecord<Event> element) {
    waiting.merge(element.getTimestamp(), element.getValue(), ViewsMerger::merged);
  }

  private static Event merged(Event one, Event other) {
    Event whole = one.offset == VIEWS_ONLY ? other : one;
    Event part = whole == one ? other : one;
    for (int i = 0; i < whole.views.length; i++) {
      if (part.views[i] != null) {
        whole.views[i] = part.views[i];
      }
    }
    return whole;
  }

  @Override
  public void processWatermark(Watermark mark) throws Exception {
    long last = mark.getTimestamp();
    // The final watermark is greater than any number.
    while (released < last && !waiting.isEmpty()) {
      Event next = waiting.remove(++released);
      if (next != null) {
        output.collect(new StreamRecord<>(next));
      }
    }
    released = Math.max(released, last);
    super.processWatermark(mark);
  }

  @Override
  public void snapshotState(StateSnapshotContext context) throws Exception {
    if (!waiting.isEmpty()) {
      throw new IllegalStateException("events wait for their views when a checkpoint begins");
    }
    super.snapshotState(context);
  }

  /** Leaves an event only its views: the first stage sends the rest. */
  public static final class ViewsOnly implements MapFunction<Event, Event> {
    private static final long serialVersionUID = 1;

    @Override
    public Event map(Event event) {
      event.offset = VIEWS_ONLY;
      event.key = null;
      event.id = "";
      event.columns = new Object[event.columns.length];
      return event;
    }
  }
}
