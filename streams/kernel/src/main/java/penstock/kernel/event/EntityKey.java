package penstock.kernel.event;

import java.io.Serializable;
import java.util.List;
import penstock.kernel.plan.Plan;

/**
 * The columns that identify an entity, and their values as one string. {@code
 * streams/plan/entity_text.py} documents how the parts of a composite key are joined.
 */
public final class EntityKey implements Serializable {
  private static final long serialVersionUID = 1;
  private static final char JOINT = '|';
  private static final char ESCAPE = '\\';

  private final int[] indexes;

  private EntityKey(int[] indexes) {
    this.indexes = indexes;
  }

  /** For the plan's key column {@code key}. With null, no event has an entity. */
  public static EntityKey of(Plan plan, ColumnLayout layout, String key) {
    List<String> columns = key == null ? List.of() : plan.keyColumns(key);
    return new EntityKey(columns.stream().mapToInt(layout::indexOf).toArray());
  }

  /** For the values at these places. */
  public static EntityKey at(int... indexes) {
    return new EntityKey(indexes.clone());
  }

  /** The entity of an event; null if it has none. */
  public String text(Event event) {
    return text(event.columns);
  }

  /** The entity in these values; null if it has none. */
  public String text(Object[] values) {
    if (indexes.length == 1) {
      Object value = values[indexes[0]];
      return value == null ? null : value.toString();
    }
    for (int index : indexes) {
      if (values[index] == null) {
        return null;
      }
    }
    return indexes.length == 0 ? null : joined(values);
  }

  private String joined(Object[] columns) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < indexes.length; i++) {
      if (i > 0) {
        text.append(JOINT);
      }
      String part = columns[indexes[i]].toString();
      for (int j = 0; j < part.length(); j++) {
        char c = part.charAt(j);
        if (c == JOINT || c == ESCAPE) {
          text.append(ESCAPE);
        }
        text.append(c);
      }
    }
    return text.toString();
  }
}
