package penstock.kernel.window;

import java.util.Arrays;
import java.util.List;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/**
 * All views of one entity, made ready to take events. It holds scratch space and so belongs to one
 * thread; what an entity has seen is in its {@link EntityState}.
 */
public final class StageSpec {
  private final ViewSpec[] views;
  private final int firstView;
  private final EntityKey key;
  private final List<String> keys;

  /** Another specification that was found to lay its states out as this one does. */
  private StageSpec sameLayout = this;

  /** Says in which epoch a view begins. */
  public interface Epochs {
    /** That of the stage's view at this place. */
    long of(int view);
  }

  private StageSpec(ViewSpec[] views, int firstView, EntityKey key) {
    this.views = views;
    this.firstView = firstView;
    this.key = key;
    this.keys = Arrays.stream(views).map(ViewSpec::key).toList();
  }

  /** The stage of a plan that is keyed by {@code entity}. */
  public static StageSpec of(Plan plan, String entity) {
    ColumnLayout layout = ColumnLayout.needed(plan);
    int firstView = 0;
    for (Plan.Stage stage : plan.stages()) {
      if (stage.entity().equals(entity)) {
        ViewSpec[] views =
            stage.views().stream().map(view -> new ViewSpec(view, layout)).toArray(ViewSpec[]::new);
        return new StageSpec(views, firstView, EntityKey.of(plan, layout, stage.key()));
      }
      firstView += stage.views().size();
    }
    throw new IllegalArgumentException("the plan has no stage for entity " + entity);
  }

  /** The entity of an event as text, or null if it has none. */
  public String entity(Event event) {
    return key.text(event);
  }

  /** The state of an entity that was never seen. */
  public EntityState newState() {
    ViewState[] states = new ViewState[views.length];
    for (int i = 0; i < views.length; i++) {
      states[i] = new ViewState(views[i]);
    }
    return new EntityState(this, states);
  }

  /**
   * The state as this stage needs it: the same, or, of a state that another release or another plan
   * left, the views that still mean the same, the others empty.
   */
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
          Arrays.stream(state.views)
              .filter(view -> view.spec.key.equals(spec.key))
              .findFirst()
              .orElseGet(() -> new ViewState(spec));
    }
    return new EntityState(this, migrated);
  }

  /**
   * Takes an event of the entity and writes its vectors into the event.
   *
   * @param epochs of each view, if it begins with this event
   * @return how many views found the event older than all their windows
   */
  public int update(EntityState state, Event event, String entity, Epochs epochs) {
    int late = 0;
    for (int i = 0; i < views.length; i++) {
      ViewState view = state.views[i];
      if (view.seq == 0) {
        view.epoch = epochs.of(i);
      }
      view.asOf = Math.max(view.asOf, event.time);
      Object[] features = new Object[views[i].width()];
      boolean inside = views[i].update(view, event.columns, event.time, view.asOf, features);
      view.seq++;
      late += inside ? 0 : 1;
      event.views[firstView + i] =
          new ViewValues(entity, view.epoch, view.seq, view.asOf, !inside, features);
    }
    return late;
  }

  /** After this long without an event all windows of an entity are empty. */
  public long longestWindowMs() {
    return Arrays.stream(views).mapToLong(ViewSpec::longestWindowMs).max().orElse(0);
  }

  /**
   * A view's features as of a later time at which no event asks; the state stays as it is.
   *
   * @param last those that were emitted last
   */
  public Object[] featuresAt(EntityState state, int view, long asOf, Object[] last) {
    return views[view].featuresAt(state.views[view], asOf, last);
  }

  /**
   * When the next tile of a view's windows leaves after {@code asOf}; the greatest long if none.
   */
  public long nextExpiry(EntityState state, int view, long asOf) {
    return views[view].nextExpiry(state.views[view], asOf);
  }

  /** How far time has come in a view, epoch ms. */
  public long asOf(EntityState state, int view) {
    return state.views[view].asOf;
  }

  /** The epoch in which a view counts its events. */
  public long epoch(EntityState state, int view) {
    return state.views[view].epoch;
  }

  /** How many events a view has taken. */
  public long seq(EntityState state, int view) {
    return state.views[view].seq;
  }

  /** The place of a view among all views of the plan. */
  public int viewIndex(int view) {
    return firstView + view;
  }

  /** The views of the stage, in record order. */
  public ViewSpec[] views() {
    return views;
  }

  /** Whether a state of the other stage can be read as one of this. */
  boolean hasSameLayout(StageSpec other) {
    return keys.equals(other.keys);
  }
}
