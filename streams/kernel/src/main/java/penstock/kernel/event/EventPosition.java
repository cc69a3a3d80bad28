package penstock.kernel.event;

/** The position of a raw event: its source's number in the plan, and its partition and offset. */
public record EventPosition(int source, int partition, long offset) {
  /** The position of an event. */
  public static EventPosition of(Event event) {
    return new EventPosition(event.source, event.partition, event.offset);
  }
}
