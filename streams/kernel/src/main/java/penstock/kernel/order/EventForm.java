package penstock.kernel.order;

import java.util.ArrayList;
import java.util.List;
import penstock.kernel.event.Event;
import penstock.kernel.event.Layout;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** What an event's columns and views are in the job of one plan. */
final class EventForm {
  private final List<String> columns;
  private final List<String> views;

  EventForm(Plan plan) {
    this.columns = Layout.needed(plan).names();
    this.views = plan.views().stream().map(view -> view.id() + ":" + view.hash()).toList();
  }

  /** Whether events of the other form are of this one too. */
  boolean isThatOf(EventForm other) {
    return columns.equals(other.columns) && views.equals(other.views);
  }

  /**
   * What waited when a job was stopped, for the job of another plan: columns that the old one did
   * not carry are null, as a view that is new has not seen the events before them either.
   */
  Held adopt(Held held) {
    if (held.form == this || isThatOf(held.form)) {
      return held;
    }
    List<Event> adopted = new ArrayList<>(held.events.size());
    for (Event from : held.events) {
      Event to = from.copy();
      to.columns = new Object[columns.size()];
      for (int i = 0; i < to.columns.length; i++) {
        int place = held.form.columns.indexOf(columns.get(i));
        to.columns[i] = place < 0 ? null : from.columns[place];
      }
      to.views = new ViewValues[views.size()];
      for (int i = 0; i < to.views.length; i++) {
        int place = held.form.views.indexOf(views.get(i));
        to.views[i] = place < 0 ? null : from.views[place];
      }
      adopted.add(to);
    }
    return new Held(this, adopted);
  }
}
