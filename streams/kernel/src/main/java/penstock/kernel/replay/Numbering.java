package penstock.kernel.replay;

import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import penstock.kernel.event.Event;

/**
 * Numbers the events of a replay in its order, in the timestamps of their stream records. A
 * watermark says up to which number all events have been sent, so {@link ViewsMerger} can put
 * together what the stages have made of an event. Must have one task.
 *
 * <p>It has no state: before each checkpoint it sends a watermark that releases everything, so that
 * the operators behind it need not keep events in theirs, and the numbers may begin again.
 */
public final class Numbering extends AbstractStreamOperator<Event>
    implements OneInputStreamOperator<Event, Event> {
  private static final long serialVersionUID = 1;

  /** A watermark goes to every task of every stage. Until it comes, events wait in memory. */
  private static final int EVENTS_PER_WATERMARK = 256;

  private transient long number;

  @Override
  public void processElement(StreamRecord<Event> element) {
    output.collect(element.replace(element.getValue(), ++number));
    if (number % EVENTS_PER_WATERMARK == 0) {
      output.emitWatermark(new Watermark(number));
    }
  }

  @Override
  public void prepareSnapshotPreBarrier(long checkpoint) {
    output.emitWatermark(new Watermark(number));
  }

  /** Watermarks of event time end here, except the final one. */
  @Override
  public void processWatermark(Watermark mark) {
    if (mark.equals(Watermark.MAX_WATERMARK)) {
      output.emitWatermark(mark);
    }
  }
}
