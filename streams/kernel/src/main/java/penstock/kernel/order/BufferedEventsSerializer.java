package penstock.kernel.order;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.MutableSerializer;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.Plan;

/**
 * Waiting events in state. A snapshot carries the plan that gave them their schema, so that a job
 * with another plan reads them.
 */
final class BufferedEventsSerializer extends MutableSerializer<BufferedEvents> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final EventSerializer events;
  private transient EventSchema schema;

  BufferedEventsSerializer(String planJson) {
    this.planJson = planJson;
    this.events = new EventSerializer(planJson, false);
  }

  EventSchema schema() {
    if (schema == null) {
      schema = new EventSchema(Plan.parse(planJson));
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

  @Override
  public boolean equals(Object other) {
    return other instanceof BufferedEventsSerializer that && that.planJson.equals(planJson);
  }

  @Override
  public int hashCode() {
    return planJson.hashCode();
  }

  @Override
  public TypeSerializerSnapshot<BufferedEvents> snapshotConfiguration() {
    return new Snapshot(this);
  }

  /** The part of a snapshot that says what schema its events have. */
  public static final class Snapshot implements TypeSerializerSnapshot<BufferedEvents> {
    private static final int FORMAT = 1;

    private BufferedEventsSerializer serializer;

    /** For Flink, which reads the rest afterwards. */
    public Snapshot() {}

    private Snapshot(BufferedEventsSerializer serializer) {
      this.serializer = serializer;
    }

    @Override
    public int getCurrentVersion() {
      return FORMAT;
    }

    @Override
    public void writeSnapshot(DataOutputView out) throws IOException {
      Binary.writeString(serializer.planJson, out);
    }

    @Override
    public void readSnapshot(int version, DataInputView in, ClassLoader loader) throws IOException {
      if (version != FORMAT) {
        throw new IOException(
            "the savepoint has waiting events of format "
                + version
                + ", this release reads "
                + FORMAT);
      }
      serializer = new BufferedEventsSerializer(Binary.readString(in));
    }

    @Override
    public TypeSerializer<BufferedEvents> restoreSerializer() {
      return serializer.duplicate();
    }

    @Override
    public TypeSerializerSchemaCompatibility<BufferedEvents> resolveSchemaCompatibility(
        TypeSerializerSnapshot<BufferedEvents> old) {
      return serializer.schema().isThatOf(((Snapshot) old).serializer.schema())
          ? TypeSerializerSchemaCompatibility.compatibleAsIs()
          : TypeSerializerSchemaCompatibility.compatibleAfterMigration();
    }
  }
}
