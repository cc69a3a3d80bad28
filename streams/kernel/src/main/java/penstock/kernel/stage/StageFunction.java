package penstock.kernel.stage;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.util.Collector;
import penstock.kernel.Counters;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;
import penstock.kernel.window.EntityState;
import penstock.kernel.window.EntityStateSerializer;
import penstock.kernel.window.StageSpec;
import penstock.kernel.window.ViewSpec;

/** One keyed stage of the job: adds the features of one entity's views to every event. */
public class StageFunction extends WriteBackFunction {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final String entity;
  private final boolean deduplicates;
  private final long submissionMs;
  private final long waitMs;
  private final boolean refreshes;
  private final String fillState;

  private transient StageSpec spec;
  private transient long[] epochs;
  private transient StateExpiry expiry;
  private transient TimerService timers;
  private transient ListState<Tuple2<String, Long>> epochState;
  private transient ValueState<EntityState> state;

  /** The names of the states that a fill has computed and that have not joined this state yet. */
  private transient ListState<String> filled;

  private transient Deduplicator deduplicator;
  private transient Refresher refresher;
  private transient Counter lateEvents;
  private transient Counter[] lateByView;
  private transient Counter withoutEntity;
  transient Counter ahead;
  private transient long maxFutureMs;

  /**
   * The stage of {@code entity}.
   *
   * @param deduplicates whether this is the first stage and has the source's key
   * @param submissionMs when the job was submitted: the epoch of views without state
   * @param waitMs how long an event may wait in its topic; an entity's state lives that much longer
   *     than its longest window
   * @param refreshes whether timers refresh the views that ask for it; false in a replay
   * @param fillState in a fill, the name of its entities' state; else null
   */
  public StageFunction(
      String planJson,
      String entity,
      boolean deduplicates,
      long submissionMs,
      long waitMs,
      boolean refreshes,
      String fillState) {
    this.planJson = planJson;
    this.entity = entity;
    this.deduplicates = deduplicates;
    this.submissionMs = submissionMs;
    this.waitMs = waitMs;
    this.refreshes = refreshes;
    this.fillState = fillState;
  }

  @Override
  public void initializeState(FunctionInitializationContext context) throws Exception {
    Plan plan = Plan.parse(planJson);
    spec = StageSpec.of(plan, entity);
    ValueStateDescriptor<EntityState> descriptor =
        descriptor(fillState == null ? "entity" : fillState);
    maxFutureMs = plan.sources().stream().mapToLong(Plan.Source::maxFutureMs).max().orElse(0);
    expiry = StateExpiry.of(maxFutureMs, spec.longestWindowMs(), waitMs);
    expiry.applyTo(descriptor);
    state = state(context.getKeyedStateStore(), descriptor, EntityState::packedBytes);
    epochState =
        context
            .getOperatorStateStore()
            .getUnionListState(
                new ListStateDescriptor<>("epochs", Types.TUPLE(Types.STRING, Types.LONG)));
    filled =
        context
            .getOperatorStateStore()
            .getUnionListState(new ListStateDescriptor<>("filled", Types.STRING));
    epochs = epochs();
    if (fillState == null) {
      for (String name : filled.get()) {
        addFilled(name, context);
      }
    }
    Counters counters = new Counters(getRuntimeContext());
    if (deduplicates) {
      deduplicator =
          new Deduplicator(
              plan, waitMs, this, context.getKeyedStateStore(), counters.counter("duplicates"));
    }
    if (refreshes) {
      refresher = Refresher.of(plan, entity, spec, expiry, context.getKeyedStateStore());
    }
    lateEvents = counters.counter("late_events");
    lateByView =
        Arrays.stream(spec.views())
            .map(view -> counters.counter("view", view.name(), "late_events"))
            .toArray(Counter[]::new);
    withoutEntity = counters.counter("events_without_entity");
    ahead = counters.counter("entities_ahead_of_clock");
  }

  private ValueStateDescriptor<EntityState> descriptor(String name) {
    return new ValueStateDescriptor<>(name, new EntityStateSerializer(planJson, entity, spec));
  }

  /**
   * Adds the views that a fill has computed to the states of their entities. It is done before the
   * first event, and again after a failure before the first checkpoint.
   */
  private void addFilled(String name, FunctionInitializationContext context) throws Exception {
    ValueState<EntityState> found = context.getKeyedStateStore().getState(descriptor(name));
    forEachKey(
        name,
        () -> {
          EntityState views = found.value();
          found.clear();
          EntityState before = state.value();
          state.update(spec.withFilled(before == null ? spec.newState() : before, views));
        });
  }

  /** The epoch of a view that starts for an entity now. */
  private long epoch(int view) {
    return expiry.epoch(epochs[view], timers.currentProcessingTime());
  }

  /** A restored view continues its epoch. A view without state starts a new one. */
  private long[] epochs() throws Exception {
    Map<String, Long> restored = new HashMap<>();
    for (Tuple2<String, Long> epoch : epochState.get()) {
      // A fill may have begun a view anew that the live job has, too.
      restored.merge(epoch.f0, epoch.f1, Math::max);
    }
    ViewSpec[] views = spec.views();
    long[] epochs = new long[views.length];
    for (int i = 0; i < views.length; i++) {
      epochs[i] = restored.getOrDefault(views[i].key(), submissionMs);
    }
    return epochs;
  }

  @Override
  public void snapshotState(FunctionSnapshotContext context) throws Exception {
    super.snapshotState(context);
    epochState.clear();
    filled.clear();
    if (getRuntimeContext().getTaskInfo().getIndexOfThisSubtask() == 0) {
      for (int i = 0; i < epochs.length; i++) {
        epochState.add(Tuple2.of(spec.views()[i].key(), epochs[i]));
      }
      if (fillState != null) {
        filled.add(fillState);
      }
    }
  }

  @Override
  public void processElement(Event event, Context context, Collector<Event> out) throws Exception {
    if (event.isTimer) {
      out.collect(event);
      return;
    }
    if (deduplicator != null && !deduplicator.accept(event)) {
      return;
    }
    String name = spec.entity(event);
    if (name != null) {
      timers = context.timerService();
      EntityState entityState = state.value();
      entityState = entityState == null ? spec.newState() : spec.migrate(entityState);
      if (spec.update(entityState, event, name, this::epoch) > 0) {
        lateEvents.inc();
        countLate(event);
      }
      if (isAhead(event)) {
        ahead.inc();
      }
      state.update(entityState);
      if (refresher != null) {
        refresher.onEvent(event, entityState, context.timerService());
      }
    } else {
      withoutEntity.inc();
    }
    out.collect(event);
  }

  @Override
  public void onTimer(long time, OnTimerContext context, Collector<Event> out) throws Exception {
    if (refresher != null) {
      EntityState entityState = state.value();
      refresher.onTimer(
          time,
          entityState == null ? null : spec.migrate(entityState),
          context.timerService(),
          out);
    }
  }

  /**
   * Whether the entity's windows stand still because an event set their time ahead of the clock.
   */
  private boolean isAhead(Event event) {
    long latest = timers.currentProcessingTime() + maxFutureMs;
    for (int i = 0; i < lateByView.length; i++) {
      if (event.views[spec.viewIndex(i)].asOf() > latest) {
        return true;
      }
    }
    return false;
  }

  private void countLate(Event event) {
    for (int i = 0; i < lateByView.length; i++) {
      if (event.views[spec.viewIndex(i)].late()) {
        lateByView[i].inc();
      }
    }
  }
}
