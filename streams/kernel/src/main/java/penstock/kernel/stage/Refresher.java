package penstock.kernel.stage;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.state.KeyedStateStore;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.util.Collector;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.FeatureType;
import penstock.kernel.plan.Plan;
import penstock.kernel.window.EntityState;
import penstock.kernel.window.StageSpec;

/**
 * Emits the features of an idle entity again as values leave its windows.
 *
 * <p>Each view has a timer for the next tile that expires, rounded up to the entity's slot in the
 * view's refresh interval. The slot is a hash of the entity's key: an entity is emitted at most
 * once per interval, and entities are spread over it. Features are computed on a copy of the state.
 * So a replay, which has no timers, gives the same values. When all windows are empty, the timer
 * and its state are removed.
 */
final class Refresher {
  private final StageSpec spec;
  private final Plan.Stage stage;
  private final int columns;
  private final int views;
  private final FeatureType[][] types;
  private final boolean[] triggers;

  /** Pending refreshes by view key. Entries of other versions of a view are removed. */
  private final MapState<String, byte[]> pending;

  private final DataOutputSerializer out = new DataOutputSerializer(256);

  private Refresher(
      Plan plan, Plan.Stage stage, StageSpec spec, StateExpiry expiry, KeyedStateStore store) {
    this.spec = spec;
    this.stage = stage;
    this.columns = ColumnLayout.needed(plan).size();
    this.views = plan.views().size();
    this.types =
        stage.views().stream()
            .map(
                view ->
                    view.features().stream().map(Plan.Feature::type).toArray(FeatureType[]::new))
            .toArray(FeatureType[][]::new);
    this.triggers = new boolean[plan.sources().size()];
    for (int i = 0; i < triggers.length; i++) {
      triggers[i] = plan.sources().get(i).triggers();
    }
    MapStateDescriptor<String, byte[]> descriptor =
        new MapStateDescriptor<>(
            "refresh", Types.STRING, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
    expiry.applyTo(descriptor);
    this.pending = store.getMapState(descriptor);
  }

  /** For a stage; null if none of its views refreshes. */
  static Refresher of(
      Plan plan, String entity, StageSpec spec, StateExpiry expiry, KeyedStateStore store) {
    for (Plan.Stage stage : plan.stages()) {
      if (stage.entity().equals(entity) && stage.views().stream().anyMatch(Plan.View::refreshes)) {
        return new Refresher(plan, stage, spec, expiry, store);
      }
    }
    return null;
  }

  /**
   * The pending refresh of one view of one entity: when it is due, the features emitted last, and
   * the position and key of the last event.
   */
  private record PendingRefresh(
      long due,
      String entity,
      byte[] key,
      int partition,
      long offset,
      long timestamp,
      String id,
      Object[] features) {

    static PendingRefresh of(Event event, ViewValues values, long due) {
      return new PendingRefresh(
          due,
          values.entity(),
          event.key,
          event.partition,
          event.offset,
          event.timestamp,
          event.id,
          values.features());
    }

    PendingRefresh with(long due, Object[] features) {
      return new PendingRefresh(due, entity, key, partition, offset, timestamp, id, features);
    }
  }

  /** Schedules refreshes after an event. */
  void onEvent(Event event, EntityState state, TimerService timers) throws Exception {
    for (int i = 0; i < types.length; i++) {
      ViewValues values = event.views[spec.viewIndex(i)];
      if (!stage.views().get(i).refreshes()) {
        continue;
      }
      byte[] before = pending.get(spec.views()[i].key());
      if (before == null && !triggers[event.source]) {
        continue;
      }
      long due = nextDue(i, state, values.asOf(), values.entity());
      long pending = before == null ? Long.MAX_VALUE : new DataInputDeserializer(before).readLong();
      if (pending > values.asOf() && pending <= due) {
        due = pending;
      } else if (due != Long.MAX_VALUE) {
        timers.registerEventTimeTimer(due);
      }
      if (triggers[event.source]) {
        store(i, PendingRefresh.of(event, values, due));
      } else {
        // Events of this source give no records, so the position stays that of the last one that
        // did.
        store(i, read(before, i).with(due, values.features()));
      }
    }
  }

  /** Emits the views that have changed by {@code time}. {@code state} is null if it has expired. */
  void onTimer(long time, EntityState state, TimerService timers, Collector<Event> collector)
      throws Exception {
    List<String> known = Arrays.stream(spec.views()).map(view -> view.key()).toList();
    List<String> gone = new ArrayList<>();
    List<Integer> found = new ArrayList<>();
    for (Map.Entry<String, byte[]> entry : pending.entries()) {
      int view = known.indexOf(entry.getKey());
      if (state == null || view < 0 || !stage.views().get(view).refreshes()) {
        gone.add(entry.getKey());
      } else if (new DataInputDeserializer(entry.getValue()).readLong() == time) {
        found.add(view);
      }
    }
    for (String key : gone) {
      pending.remove(key);
    }
    for (int view : found) {
      PendingRefresh before = read(pending.get(known.get(view)), view);
      long asOf = spec.asOf(state, view);
      Object[] features = before.features();
      if (time > asOf) {
        Object[] later = spec.featuresAt(state, view, time, features);
        if (!Arrays.equals(later, features)) {
          collector.collect(timerEvent(view, before, state, time, later));
        }
        features = later;
      }
      long due = nextDue(view, state, Math.max(time, asOf), before.entity());
      if (due != Long.MAX_VALUE) {
        timers.registerEventTimeTimer(due);
      }
      store(view, before.with(due, features));
    }
  }

  /** A timer's record, with the position of the entity's last event. */
  private Event timerEvent(
      int view, PendingRefresh last, EntityState state, long time, Object[] features) {
    Event event = new Event();
    event.isTimer = true;
    event.key = last.key();
    event.partition = last.partition();
    event.offset = last.offset();
    event.timestamp = last.timestamp();
    event.id = last.id();
    event.time = spec.asOf(state, view);
    event.columns = new Object[columns];
    event.views = new ViewValues[views];
    event.views[spec.viewIndex(view)] =
        new ViewValues(
            last.entity(),
            spec.epoch(state, view),
            spec.seq(state, view),
            time,
            false,
            features,
            spec.updates(state, view));
    return event;
  }

  /** When to refresh the view after {@code asOf}; the greatest long if its windows are empty. */
  private long nextDue(int view, EntityState state, long asOf, String entity) {
    return nextSlot(
        spec.nextExpiry(state, view, asOf), stage.views().get(view).refreshMs(), entity.hashCode());
  }

  /** The first time from {@code time} on that is in the slot of {@code hash}. */
  static long nextSlot(long time, long intervalMs, int hash) {
    long own = Math.floorMod(hash * 0x9E3779B97F4A7C15L >>> 16, intervalMs);
    long rounded = time + Math.floorMod(own - Math.floorMod(time, intervalMs), intervalMs);
    return rounded < time ? Long.MAX_VALUE : rounded;
  }

  private void store(int view, PendingRefresh now) throws Exception {
    String key = spec.views()[view].key();
    if (now.due() == Long.MAX_VALUE) {
      pending.remove(key);
      return;
    }
    out.clear();
    out.writeLong(now.due());
    Binary.writeString(now.entity(), out);
    Binary.writeBytes(now.key(), out);
    out.writeInt(now.partition());
    out.writeLong(now.offset());
    out.writeLong(now.timestamp());
    Binary.writeString(now.id(), out);
    for (int i = 0; i < types[view].length; i++) {
      types[view][i].write(now.features()[i], out);
    }
    pending.put(key, out.getCopyOfBuffer());
  }

  private PendingRefresh read(byte[] bytes, int view) throws IOException {
    DataInputDeserializer in = new DataInputDeserializer(bytes);
    long due = in.readLong();
    String entity = Binary.readString(in);
    byte[] key = Binary.readBytes(in);
    int partition = in.readInt();
    long offset = in.readLong();
    long timestamp = in.readLong();
    String id = Binary.readString(in);
    // With room for the features that SQL derives after the stages.
    Object[] features = new Object[stage.views().get(view).outputs().size()];
    for (int i = 0; i < types[view].length; i++) {
      features[i] = types[view][i].read(in);
    }
    return new PendingRefresh(due, entity, key, partition, offset, timestamp, id, features);
  }
}
