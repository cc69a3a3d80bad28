package penstock.kernel.order;

import java.util.ArrayList;
import java.util.List;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** What an event's columns and views are in the job of one plan. */
final class EventSchema {
  private final List<String> columns;
  private final List<String> views;

  EventSchema(Plan plan) {
    this.columns = ColumnLayout.needed(plan).names();
    this.views = plan.views().stream().map(view -> view.id() + ":" + view.hash()).toList();
  }

  /** Whether events of the other schema are of this one too. */
  boolean isThatOf(EventSchema other) {
    return columns.equals(other.columns) && views.equals(other.views);
  }

  /**
   * What waited when a job was stopped, for the job of another plan: columns that the old one did
   * not carry are null, as a view that is new has not seen the events before them either.
   */
  BufferedEvents migrate(BufferedEvents buffered) {
    if (buffered.schema == this || isThatOf(buffered.schema)) {
      return buffered;
    }
    List<Event> migrated = new ArrayList<>(buffered.events.size());
    for (Event from : buffered.events) {
      Event to = from.copy();
      to.columns = new Object[columns.size()];
      for (int i = 0; i < to.columns.length; i++) {
        int place = buffered.schema.columns.indexOf(columns.get(i));
        to.columns[i] = place < 0 ? null : from.columns[place];
      }
      to.views = new ViewValues[views.size()];
      for (int i = 0; i < to.views.length; i++) {
        int place = buffered.schema.views.indexOf(views.get(i));
        to.views[i] = place < 0 ? null : from.views[place];
      }
      migrated.add(to);
    }
    return new BufferedEvents(this, migrated);
  }
}
