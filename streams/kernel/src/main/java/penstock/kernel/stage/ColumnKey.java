package penstock.kernel.stage;

import org.apache.flink.api.java.functions.KeySelector;
import penstock.kernel.event.Event;

/**
 * The value of a column as the key of a stage. Events without one are spread by their id; their
 * keys begin with a mark that no value's key can have.
 */
public final class ColumnKey implements KeySelector<Event, String> {
  private static final long serialVersionUID = 1;
  private static final String MARK = "\u0000";

  private final int place;

  /**
   * By the column at {@code place}; -1 if there is none, so that every event is keyed by its id.
   */
  public ColumnKey(int place) {
    this.place = place;
  }

  @Override
  public String getKey(Event event) {
    Object value = place < 0 ? null : event.columns[place];
    if (value == null) {
      return MARK + "n" + event.id;
    }
    String key = value.toString();
    return key.startsWith(MARK) ? MARK + "v" + key : key;
  }
}
