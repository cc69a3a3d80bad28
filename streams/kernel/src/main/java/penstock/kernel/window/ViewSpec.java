package penstock.kernel.window;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.plan.Plan;

/** A view prepared to process events: its windows, and where each aggregate reads its value. */
public final class ViewSpec {
  final String key;
  private final String name;

  /** Per feature: what it aggregates, and the types of its column and its result. */
  final List<String> types;

  final WindowSpec[] windows;
  private final int width;
  final boolean hasUpdates;

  /** Per window and aggregate: index of the column, or -1 to aggregate rows. */
  private final int[][] columns;

  /** Per window and aggregate: index of the condition, or -1 for none. */
  private final int[][] conditions;

  private final Object[][] values;
  private final CurrentEvent current = new CurrentEvent();

  /** {@code hasUpdates} is that of the plan. */
  ViewSpec(Plan.View view, ColumnLayout layout, boolean hasUpdates) {
    this.hasUpdates = hasUpdates;
    this.key = view.id() + ":" + view.hash();
    this.name = view.name();
    this.types =
        view.features().stream()
            .map(
                feature ->
                    "%s: %s of %s is %s"
                        .formatted(
                            feature.name(),
                            feature.operation(),
                            feature.valueType(),
                            feature.type()))
            .toList();
    List<Plan.Feature> features = view.features();
    this.width = features.size() + view.derived().size();
    record Shape(long sizeMs, long hopMs) {}
    Map<Shape, List<Integer>> byWindow = new LinkedHashMap<>();
    for (int i = 0; i < features.size(); i++) {
      Shape shape = new Shape(features.get(i).windowMs(), features.get(i).hopMs());
      byWindow.computeIfAbsent(shape, s -> new ArrayList<>()).add(i);
    }
    this.windows =
        byWindow.entrySet().stream()
            .map(
                e ->
                    new WindowSpec(e.getKey().sizeMs(), e.getKey().hopMs(), features, e.getValue()))
            .toArray(WindowSpec[]::new);
    this.columns = new int[windows.length][];
    this.conditions = new int[windows.length][];
    this.values = new Object[windows.length][];
    for (int w = 0; w < windows.length; w++) {
      int count = windows[w].aggregates.length;
      columns[w] = new int[count];
      conditions[w] = new int[count];
      values[w] = new Object[count];
      for (int i = 0; i < count; i++) {
        Plan.Feature feature = features.get(windows[w].features[i]);
        columns[w][i] = layout.indexOf(feature.column());
        conditions[w][i] = layout.indexOf(feature.where());
      }
    }
  }

  /** Its name in the plan. */
  public String name() {
    return name;
  }

  /** Name, version and hash: the key of the view's state and epoch. */
  public String key() {
    return key;
  }

  /**
   * Updates the view's windows with an event.
   *
   * @param features receives the features as of {@code asOf}
   * @return false if the event is older than all windows
   */
  boolean update(ViewState state, Object[] event, long time, long asOf, Object[] features) {
    boolean inside = false;
    current.time = time;
    current.asOf = asOf;
    for (int w = 0; w < windows.length; w++) {
      WindowSpec window = windows[w];
      Tiles tiles = state.windows[w];
      tiles.advance(asOf);
      boolean matches = matches(w, event);
      if (window.contains(time, asOf)) {
        inside = true;
        if (matches) {
          tiles.add(values[w], time);
        }
      }
      tiles.results(current, values[w], features);
    }
    return inside;
  }

  /** The size of its longest window. */
  long longestWindowMs() {
    return Arrays.stream(windows).mapToLong(window -> window.sizeMs).max().orElse(0);
  }

  /**
   * The features at a later time without an event, computed on a copy of the state.
   *
   * @param last the features emitted last
   */
  Object[] featuresAt(ViewState state, long asOf, Object[] last) {
    ViewState copy = state.copy();
    Object[] features = new Object[width];
    current.time = state.asOf;
    current.asOf = asOf;
    for (int w = 0; w < windows.length; w++) {
      WindowSpec window = windows[w];
      Arrays.fill(values[w], null);
      copy.windows[w].advance(asOf);
      copy.windows[w].results(current, values[w], features);
      boolean holdsNewest = window.tile(state.asOf) >= window.firstInside(asOf);
      for (int i = 0; i < window.aggregates.length && holdsNewest; i++) {
        if (window.aggregates[i].dependsOnCurrentEvent()) {
          features[window.features[i]] = last[window.features[i]];
        }
      }
    }
    return features;
  }

  /** When the next tile of any window expires after {@code asOf}; see {@link Tiles#nextExpiry}. */
  long nextExpiry(ViewState state, long asOf) {
    long least = Long.MAX_VALUE;
    for (Tiles tiles : state.windows) {
      least = Math.min(least, tiles.nextExpiry(asOf));
    }
    return least;
  }

  int width() {
    return width;
  }

  /** Reads each aggregate's value from the event. Returns false if there is none. */
  private boolean matches(int window, Object[] event) {
    boolean any = false;
    Object[] found = values[window];
    for (int i = 0; i < found.length; i++) {
      int condition = conditions[window][i];
      int column = columns[window][i];
      if (condition >= 0 && !Boolean.TRUE.equals(event[condition])) {
        found[i] = null;
      } else {
        found[i] = column < 0 ? Boolean.TRUE : event[column];
        if (found[i] instanceof List<?> elements && elements.isEmpty()) {
          found[i] = null;
        }
      }
      any |= found[i] != null;
    }
    return any;
  }
}
