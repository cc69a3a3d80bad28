package penstock.kernel.window;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventPosition;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/**
 * All views of one entity, prepared to process events. It has scratch space and so belongs to one
 * thread. The state of an entity is in its {@link EntityState}.
 */
public final class StageSpec {
  /**
   * How many updates of one entity wait for a record, at most: they bound its state, as an entity
   * may have updates and never a record.
   */
  private static final int MAX_UPDATES = 1_000;

  private final ViewSpec[] views;
  private final int firstView;
  private final EntityKey key;
  private final List<String> keys;
  private final boolean hasUpdates;

  /** By source: whether its events give records. */
  private final Boolean[] triggers;

  /** Another specification with the same layout of states. */
  private StageSpec sameLayout = this;

  /** Gives the epoch of a view that starts. */
  public interface Epochs {
    /** The epoch of the stage's view at index {@code view}. */
    long of(int view);
  }

  private StageSpec(ViewSpec[] views, int firstView, EntityKey key, Plan plan) {
    this.views = views;
    this.firstView = firstView;
    this.key = key;
    this.keys = Arrays.stream(views).map(ViewSpec::key).toList();
    this.hasUpdates = plan.hasUpdates();
    this.triggers = plan.sources().stream().map(Plan.Source::triggers).toArray(Boolean[]::new);
  }

  /** The plan's stage of {@code entity}. */
  public static StageSpec of(Plan plan, String entity) {
    ColumnLayout layout = ColumnLayout.needed(plan);
    int firstView = 0;
    for (Plan.Stage stage : plan.stages()) {
      if (stage.entity().equals(entity)) {
        ViewSpec[] views =
            stage.views().stream()
                .map(view -> new ViewSpec(view, layout, plan.hasUpdates()))
                .toArray(ViewSpec[]::new);
        return new StageSpec(views, firstView, EntityKey.of(plan, layout, stage.key()), plan);
      }
      firstView += stage.views().size();
    }
    throw new IllegalArgumentException("the plan has no stage for entity " + entity);
  }

  /** The entity of an event; null if it has none. */
  public String entity(Event event) {
    return key.text(event);
  }

  /** The state of a new entity. */
  public EntityState newState() {
    ViewState[] states = new ViewState[views.length];
    for (int i = 0; i < views.length; i++) {
      states[i] = new ViewState(views[i]);
    }
    return new EntityState(this, states);
  }

  /** Converts a state of another plan or release: unchanged views continue, new views are empty. */
  public EntityState migrate(EntityState state) {
    if (state.spec == this || state.spec == sameLayout) {
      return state;
    }
    if (hasSameLayout(state.spec)) {
      sameLayout = state.spec;
      return state;
    }
    ViewState[] migrated = new ViewState[views.length];
    for (int i = 0; i < views.length; i++) {
      ViewSpec spec = views[i];
      migrated[i] =
          Arrays.stream(state.views())
              .filter(view -> view.spec.key.equals(spec.key))
              .findFirst()
              .map(view -> view.under(spec))
              .orElseGet(() -> new ViewState(spec));
    }
    return new EntityState(this, migrated);
  }

  /** A state with the views of {@code filled} that have events, and the others of {@code state}. */
  public EntityState withFilled(EntityState state, EntityState filled) {
    ViewState[] joined = migrate(state).views().clone();
    ViewState[] computed = migrate(filled).views();
    for (int i = 0; i < joined.length; i++) {
      if (computed[i].seq > 0) {
        joined[i] = computed[i];
      }
    }
    return new EntityState(this, joined);
  }

  /**
   * Updates the state with an event of the entity, and writes the features into the event.
   *
   * @param epochs gives the epoch of views that start with this event
   * @return the number of views for which the event is older than all windows
   */
  public int update(EntityState state, Event event, String entity, Epochs epochs) {
    int late = 0;
    ViewState[] open = state.views();
    for (int i = 0; i < views.length; i++) {
      ViewState view = open[i];
      if (view.seq == 0) {
        view.epoch = epochs.of(i);
      }
      view.asOf = Math.max(view.asOf, event.time);
      Object[] features = new Object[views[i].width()];
      boolean inside = views[i].update(view, event.columns, event.time, view.asOf, features);
      view.seq++;
      late += inside ? 0 : 1;
      event.views[firstView + i] =
          new ViewValues(
              entity, view.epoch, view.seq, view.asOf, !inside, features, updates(view, event));
    }
    return late;
  }

  /** The updates for the record of an event; an event that gives none becomes one itself. */
  private List<EventPosition> updates(ViewState view, Event event) {
    if (triggers[event.source]) {
      List<EventPosition> before = view.updates;
      view.updates = new ArrayList<>();
      return before;
    }
    if (view.updates != null && view.updates.size() == MAX_UPDATES) {
      view.updates = null;
    } else if (view.updates != null) {
      view.updates.add(EventPosition.of(event));
    }
    return List.of();
  }

  /** After this long without an event, all windows of an entity are empty. */
  public long longestWindowMs() {
    return Arrays.stream(views).mapToLong(ViewSpec::longestWindowMs).max().orElse(0);
  }

  /**
   * A view's features at a later time without an event. The state does not change.
   *
   * @param last the features emitted last
   */
  public Object[] featuresAt(EntityState state, int view, long asOf, Object[] last) {
    return views[view].featuresAt(state.views()[view], asOf, last);
  }

  /**
   * When the next tile of a view's windows expires after {@code asOf}; the greatest long if none.
   */
  public long nextExpiry(EntityState state, int view, long asOf) {
    return views[view].nextExpiry(state.views()[view], asOf);
  }

  /** The time as of which a view was computed last, epoch ms. */
  public long asOf(EntityState state, int view) {
    return state.views()[view].asOf;
  }

  /** The epoch of a view. */
  public long epoch(EntityState state, int view) {
    return state.views()[view].epoch;
  }

  /** How many events a view has processed. */
  public long seq(EntityState state, int view) {
    return state.views()[view].seq;
  }

  /** The updates since a view's last record; null if there were too many to keep. */
  public List<EventPosition> updates(EntityState state, int view) {
    List<EventPosition> updates = state.views()[view].updates;
    return updates == null ? null : List.copyOf(updates);
  }

  /** The index of a view among all views of the plan. */
  public int viewIndex(int view) {
    return firstView + view;
  }

  /** The views of the stage, in record order. */
  public ViewSpec[] views() {
    return views;
  }

  /** Whether views that both stages have aggregate values of the same types. */
  boolean keepsTypesOf(StageSpec old) {
    return Arrays.stream(views)
        .allMatch(
            view ->
                Arrays.stream(old.views)
                    .filter(before -> before.key.equals(view.key))
                    .allMatch(before -> before.types.equals(view.types)));
  }

  /** For messages: each view, and the types of its features. */
  String types() {
    return Arrays.stream(views)
        .map(view -> view.key + " " + view.types)
        .collect(Collectors.joining(", "));
  }

  /** Whether this stage can read states of the other one unchanged. */
  boolean hasSameLayout(StageSpec other) {
    return keys.equals(other.keys) && hasUpdates == other.hasUpdates && keepsTypesOf(other);
  }
}
