package penstock.kernel.event;

import java.io.Serializable;
import java.util.List;
import penstock.kernel.plan.Plan;

/**
 * The columns that name an entity, and their values as one text; {@code streams/entities.py} says
 * how the parts of a composite one are joined.
 */
public final class EntityKey implements Serializable {
  private static final long serialVersionUID = 1;
  private static final char JOINT = '|';
  private static final char ESCAPE = '\\';

  private final int[] places;

  private EntityKey(int[] places) {
    this.places = places;
  }

  /** By the plan's key column of that name; null if there is none, so that no event has one. */
  public static EntityKey of(Plan plan, ColumnLayout layout, String key) {
    List<String> columns = key == null ? List.of() : plan.keyColumns(key);
    return new EntityKey(columns.stream().mapToInt(layout::indexOf).toArray());
  }

  /** The entity of an event, or null if it has none. */
  public String text(Event event) {
    if (places.length == 1) {
      Object value = event.columns[places[0]];
      return value == null ? null : value.toString();
    }
    for (int place : places) {
      if (event.columns[place] == null) {
        return null;
      }
    }
    return places.length == 0 ? null : joined(event.columns);
  }

  private String joined(Object[] columns) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < places.length; i++) {
      if (i > 0) {
        text.append(JOINT);
      }
      String part = columns[places[i]].toString();
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
