package penstock.kernel.order;

import java.util.ArrayList;
import java.util.List;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/**
 * The columns and views of a plan's events: column names, and name, version and hash of each view.
 */
record EventSchema(List<String> columns, List<String> views) {
  static EventSchema of(Plan plan) {
    return new EventSchema(
        ColumnLayout.needed(plan).names(),
        plan.views().stream().map(view -> view.id() + ":" + view.hash()).toList());
  }

  /**
   * Converts events of an old plan to this schema. Columns and views that the old plan lacks are
   * null.
   */
  BufferedEvents migrate(BufferedEvents old) {
    if (old.schema == this || equals(old.schema)) {
      return old;
    }
    List<Event> migrated = new ArrayList<>(old.events.size());
    for (Event from : old.events) {
      Event to = from.copy();
      to.columns = new Object[columns.size()];
      for (int i = 0; i < to.columns.length; i++) {
        int column = old.schema.columns.indexOf(columns.get(i));
        to.columns[i] = column < 0 ? null : from.columns[column];
      }
      to.views = new ViewValues[views.size()];
      for (int i = 0; i < to.views.length; i++) {
        int view = old.schema.views.indexOf(views.get(i));
        to.views[i] = view < 0 ? null : from.views[view];
      }
      migrated.add(to);
    }
    return new BufferedEvents(this, migrated);
  }
}
