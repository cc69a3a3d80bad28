package penstock.kernel.event;

import java.io.IOException;
import java.util.List;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.FeatureType;
import penstock.kernel.plan.Plan;

/** Events between operators. {@code order.BufferedEventsSerializer} uses it for events in state. */
public final class EventSerializer extends BaseSerializer<Event> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final boolean allFields;
  private transient FeatureType[] columns;
  private transient FeatureType[][] views;
  private transient boolean hasUpdates;

  /**
   * For the events of a plan.
   *
   * @param allFields whether events carry all fields of the contract, or only what the stages need
   */
  public EventSerializer(String planJson, boolean allFields) {
    super(false, planJson, allFields);
    this.planJson = planJson;
    this.allFields = allFields;
  }

  @Override
  public void serialize(Event event, DataOutputView out) throws IOException {
    prepare();
    Binary.writeBytes(event.key, out);
    out.writeByte(event.source);
    out.writeInt(event.partition);
    out.writeLong(event.offset);
    out.writeLong(event.timestamp);
    Binary.writeString(event.id, out);
    out.writeLong(event.time);
    out.writeBoolean(event.isTimer);
    for (int i = 0; i < columns.length; i++) {
      columns[i].write(event.columns[i], out);
    }
    for (int i = 0; i < views.length; i++) {
      writeView(event.views[i], views[i], out);
      if (hasUpdates && event.views[i] != null) {
        UpdatesSerializer.write(event.views[i].updates(), out);
      }
    }
  }

  @Override
  public Event deserialize(DataInputView in) throws IOException {
    prepare();
    Event event = new Event();
    event.key = Binary.readBytes(in);
    event.source = in.readByte();
    event.partition = in.readInt();
    event.offset = in.readLong();
    event.timestamp = in.readLong();
    event.id = Binary.readString(in);
    event.time = in.readLong();
    event.isTimer = in.readBoolean();
    event.columns = new Object[columns.length];
    for (int i = 0; i < columns.length; i++) {
      event.columns[i] = columns[i].read(in);
    }
    event.views = new ViewValues[views.length];
    for (int i = 0; i < views.length; i++) {
      event.views[i] = readView(views[i], in);
    }
    return event;
  }

  private static void writeView(ViewValues view, FeatureType[] types, DataOutputView out)
      throws IOException {
    out.writeBoolean(view != null);
    if (view == null) {
      return;
    }
    Binary.writeString(view.entity(), out);
    out.writeLong(view.epoch());
    out.writeLong(view.seq());
    out.writeLong(view.asOf());
    out.writeBoolean(view.late());
    for (int i = 0; i < types.length; i++) {
      types[i].write(view.features()[i], out);
    }
  }

  private ViewValues readView(FeatureType[] types, DataInputView in) throws IOException {
    if (!in.readBoolean()) {
      return null;
    }
    String entity = Binary.readString(in);
    long epoch = in.readLong();
    long seq = in.readLong();
    long asOf = in.readLong();
    boolean late = in.readBoolean();
    Object[] features = new Object[types.length];
    for (int i = 0; i < types.length; i++) {
      features[i] = types[i].read(in);
    }
    List<EventPosition> updates = hasUpdates ? UpdatesSerializer.read(in) : List.of();
    return new ViewValues(entity, epoch, seq, asOf, late, features, updates);
  }

  private void prepare() {
    if (columns != null) {
      return;
    }
    Plan plan = Plan.parse(planJson);
    hasUpdates = plan.hasUpdates();
    ColumnLayout layout = allFields ? ColumnLayout.contract(plan) : ColumnLayout.needed(plan);
    FeatureType[] types = new FeatureType[layout.size()];
    for (int i = 0; i < types.length; i++) {
      types[i] = layout.type(i);
    }
    views =
        plan.views().stream()
            .map(view -> view.outputs().stream().map(Plan.Output::type).toArray(FeatureType[]::new))
            .toArray(FeatureType[][]::new);
    columns = types;
  }

  @Override
  public Event copy(Event from) {
    return from.copy();
  }

  @Override
  public TypeSerializer<Event> duplicate() {
    return new EventSerializer(planJson, allFields);
  }

  @Override
  public Event createInstance() {
    return new Event();
  }

  @Override
  public TypeSerializerSnapshot<Event> snapshotConfiguration() {
    return new NeverInState();
  }

  /** Flink's table planner uses it as a name of the type and never restores it. */
  public static final class NeverInState extends SimpleTypeSerializerSnapshot<Event> {
    public NeverInState() {
      super(
          () -> {
            throw new UnsupportedOperationException("EventSerializer does not write state");
          });
    }
  }
}
