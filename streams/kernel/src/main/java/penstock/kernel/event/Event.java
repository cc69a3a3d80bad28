package penstock.kernel.event;

/**
 * A valid event on its way through the stages. It is mutable and owned by one operator at a time:
 * the stages add their views to it.
 */
public final class Event {
  /** The raw record's key, verbatim; null if it had none. */
  public byte[] key;

  /** Which of the plan's sources it came from. */
  public int source;

  /** Where the raw record lay. */
  public int partition;

  /** Where the raw record lay. */
  public long offset;

  /** The raw record's Kafka timestamp in epoch ms, or -1. */
  public long timestamp;

  /** The contract's event id, or {@code topic/partition/offset}. */
  public String id;

  /** Event time in epoch ms. */
  public long time;

  /**
   * Whether it is no event but the news that a view's windows have run empty meanwhile: then its
   * time is that of the entity's newest event, and place, key and id are those of the last.
   */
  public boolean isTimer;

  /** The columns of the {@link ColumnLayout}; null where the event has no value. */
  public Object[] columns;

  /**
   * One per view of the plan, in record order; null until its stage has run, or if the event has no
   * such entity.
   */
  public ViewValues[] views;

  /** Another event of the same content; what its columns and views hold is never changed. */
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
