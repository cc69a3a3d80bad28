package penstock.kernel.order;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.FeatureType;
import penstock.kernel.plan.Plan;

/**
 * The columns and views of a plan's events.
 *
 * @param columns names of the columns
 * @param types their types
 * @param views name, version and hash of each view
 * @param features the types of each view's features
 */
record EventSchema(
    List<String> columns,
    List<FeatureType> types,
    List<String> views,
    List<List<FeatureType>> features) {
  static EventSchema of(Plan plan) {
    ColumnLayout layout = ColumnLayout.needed(plan);
    return new EventSchema(
        layout.names(),
        IntStream.range(0, layout.size()).mapToObj(layout::type).toList(),
        plan.views().stream().map(view -> view.id() + ":" + view.hash()).toList(),
        plan.views().stream()
            .map(view -> view.outputs().stream().map(Plan.Output::type).toList())
            .toList());
  }

  /** Whether columns and views that both plans have are of the same types. */
  boolean keepsTypesOf(EventSchema old) {
    return keepsTypes(columns, types, old.columns, old.types)
        && keepsTypes(views, features, old.views, old.features);
  }

  private static <T> boolean keepsTypes(
      List<String> names, List<T> types, List<String> oldNames, List<T> oldTypes) {
    return IntStream.range(0, names.size())
        .filter(i -> oldNames.contains(names.get(i)))
        .allMatch(i -> types.get(i).equals(oldTypes.get(oldNames.indexOf(names.get(i)))));
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
