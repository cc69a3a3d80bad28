package penstock.kernel.event;

/**
 * A valid event on its way through the stages, which add their views to it. It is mutable and
 * belongs to one operator at a time.
 */
public final class Event {
  /** The raw record's key, unchanged; may be null. */
  public byte[] key;

  /** Number of its source in the plan. */
  public int source;

  /** Partition of the raw record. */
  public int partition;

  /** Offset of the raw record. */
  public long offset;

  /** Kafka timestamp of the raw record, epoch ms, or -1. */
  public long timestamp;

  /** The contract's event id, or {@code topic/partition/offset}. */
  public String id;

  /** Event time, epoch ms. */
  public long time;

  /**
   * Whether a timer emitted this, not an event, because values have left a view's windows. Then
   * {@code time} is that of the entity's newest event, and source position, key and id are those of
   * its last event.
   */
  public boolean isTimer;

  /** Values by the {@link ColumnLayout}; null where the event has none. */
  public Object[] columns;

  /**
   * One per view of the plan, in record order. Null before the view's stage, or if the event has no
   * such entity.
   */
  public ViewValues[] views;

  /** A shallow copy: values and views are shared, as they never change. */
  public Event copy() {
    Event copy = new Event();
    copy.key = key;
    copy.source = source;
    copy.partition = partition;
    copy.offset = offset;
    copy.timestamp = timestamp;
    copy.id = id;
    copy.time = time;
    copy.isTimer = isTimer;
    copy.columns = columns.clone();
    copy.views = views.clone();
    return copy;
  }
}
