package penstock.kernel.order;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import penstock.kernel.event.Event;

/** Events of one key and one time that wait for the watermark, as the plan's stages need them. */
final class Held {
  private static final Comparator<Event> ORDER =
      Comparator.<Event>comparingInt(event -> event.source)
          .thenComparingInt(event -> event.partition)
          .thenComparingLong(event -> event.offset);

  final EventForm form;
  final List<Event> events;

  Held(EventForm form, List<Event> events) {
    this.form = form;
    this.events = events;
  }

  Held(EventForm form) {
    this(form, new ArrayList<>(1));
  }

  /** The events by partition and offset. */
  List<Event> inOrder() {
    events.sort(ORDER);
    return events;
  }
}
