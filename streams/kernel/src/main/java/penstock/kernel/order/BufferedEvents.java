package penstock.kernel.order;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import penstock.kernel.event.Event;

/** Events of one key and one event time that wait for the watermark. */
final class BufferedEvents {
  private static final Comparator<Event> ORDER =
      Comparator.<Event>comparingInt(event -> event.source)
          .thenComparingInt(event -> event.partition)
          .thenComparingLong(event -> event.offset);

  final EventSchema schema;
  final List<Event> events;

  BufferedEvents(EventSchema schema, List<Event> events) {
    this.schema = schema;
    this.events = events;
  }

  BufferedEvents(EventSchema schema) {
    this(schema, new ArrayList<>(1));
  }

  /** The events by source, partition and offset. */
  List<Event> inOrder() {
    events.sort(ORDER);
    return events;
  }
}
