package penstock.kernel.stage;

import org.apache.flink.api.java.functions.KeySelector;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;

/**
 * The entity of an event as the key of a stage. Events without one are spread by their id; their
 * keys begin with a mark that no value's key can have.
 */
public final class EntityKeySelector implements KeySelector<Event, String> {
  private static final long serialVersionUID = 1;
  private static final String MARK = "\u0000";

  private final EntityKey entity;

  /** By the entity of that key; an event that has none is keyed by its id. */
  public EntityKeySelector(EntityKey entity) {
    this.entity = entity;
  }

  @Override
  public String getKey(Event event) {
    String key = entity.text(event);
    if (key == null) {
      return MARK + "n" + event.id;
    }
    return key.startsWith(MARK) ? MARK + "v" + key : key;
  }
}
