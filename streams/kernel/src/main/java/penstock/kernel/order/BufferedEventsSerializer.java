package penstock.kernel.order;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.BaseSerializer;
import penstock.kernel.event.ConfigurationSnapshot;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.Plan;

/**
 * Buffered events in state. The snapshot has the plan, so that a job with another plan can read
 * them.
 */
final class BufferedEventsSerializer extends BaseSerializer<BufferedEvents> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final EventSerializer events;
  private transient EventSchema schema;

  BufferedEventsSerializer(String planJson) {
    super(false, planJson);
    this.planJson = planJson;
    this.events = new EventSerializer(planJson, false);
  }

  EventSchema schema() {
    if (schema == null) {
      schema = EventSchema.of(Plan.parse(planJson));
    }
    return schema;
  }

  @Override
  public void serialize(BufferedEvents buffered, DataOutputView out) throws IOException {
    List<Event> migrated = schema().migrate(buffered).events;
    Binary.writeSize(migrated.size(), out);
    for (Event event : migrated) {
      events.serialize(event, out);
    }
  }

  @Override
  public BufferedEvents deserialize(DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    List<Event> read = new ArrayList<>(size);
    for (int i = 0; i < size; i++) {
      read.add(events.deserialize(in));
    }
    return new BufferedEvents(schema(), read);
  }

  @Override
  public BufferedEvents copy(BufferedEvents from) {
    return new BufferedEvents(
        from.schema, new ArrayList<>(from.events.stream().map(Event::copy).toList()));
  }

  @Override
  public TypeSerializer<BufferedEvents> duplicate() {
    return new BufferedEventsSerializer(planJson);
  }

  @Override
  public BufferedEvents createInstance() {
    return new BufferedEvents(schema());
  }

  /** For the message when a state is refused. */
  @Override
  public String toString() {
    return schema().toString();
  }

  @Override
  public TypeSerializerSnapshot<BufferedEvents> snapshotConfiguration() {
    return new BufferedEventsSnapshot(this);
  }

  /** For Flink, which creates it by the constructor without arguments. */
  public static final class BufferedEventsSnapshot
      extends ConfigurationSnapshot<BufferedEvents, BufferedEventsSerializer> {
    private static final int FORMAT = 1;

    public BufferedEventsSnapshot() {
      this(null);
    }

    private BufferedEventsSnapshot(BufferedEventsSerializer serializer) {
      super("buffered events", FORMAT, serializer);
    }

    @Override
    protected BufferedEventsSerializer readSerializer(DataInputView in) throws IOException {
      return new BufferedEventsSerializer(Binary.readString(in));
    }

    @Override
    protected boolean haveSameLayout(BufferedEventsSerializer one, BufferedEventsSerializer other) {
      return one.schema().equals(other.schema());
    }

    @Override
    protected boolean keepsTypes(BufferedEventsSerializer old, BufferedEventsSerializer current) {
      return current.schema().keepsTypesOf(old.schema());
    }
  }
}
