package penstock.kernel.stage;

import org.apache.flink.api.java.functions.KeySelector;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;

/**
 * Keys events by the entity of a stage. Events without an entity are spread by their id; their keys
 * start with a prefix that no entity's key has.
 */
public final class EntityKeySelector implements KeySelector<Event, String> {
  private static final long serialVersionUID = 1;
  private static final String MARK = "\u0000";

  private final EntityKey entity;

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
