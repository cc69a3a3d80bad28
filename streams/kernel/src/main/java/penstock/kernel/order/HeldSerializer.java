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
 * Waiting events in state. A snapshot carries the plan that gave them their form, so that a job
 * with another plan reads them.
 */
final class HeldSerializer extends MutableSerializer<Held> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final EventSerializer events;
  private transient EventForm form;

  HeldSerializer(String planJson) {
    this.planJson = planJson;
    this.events = new EventSerializer(planJson, false);
  }

  EventForm form() {
    if (form == null) {
      form = new EventForm(Plan.parse(planJson));
    }
    return form;
  }

  @Override
  public void serialize(Held held, DataOutputView out) throws IOException {
    List<Event> adopted = form().adopt(held).events;
    Binary.writeSize(adopted.size(), out);
    for (Event event : adopted) {
      events.serialize(event, out);
    }
  }

  @Override
  public Held deserialize(DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    List<Event> read = new ArrayList<>(size);
    for (int i = 0; i < size; i++) {
      read.add(events.deserialize(in));
    }
    return new Held(form(), read);
  }

  @Override
  public Held copy(Held from) {
    return new Held(from.form, new ArrayList<>(from.events.stream().map(Event::copy).toList()));
  }

  @Override
  public TypeSerializer<Held> duplicate() {
    return new HeldSerializer(planJson);
  }

  @Override
  public Held createInstance() {
    return new Held(form());
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof HeldSerializer that && that.planJson.equals(planJson);
  }

  @Override
  public int hashCode() {
    return planJson.hashCode();
  }

  @Override
  public TypeSerializerSnapshot<Held> snapshotConfiguration() {
    return new Snapshot(this);
  }

  /** The part of a snapshot that says what form its events have. */
  public static final class Snapshot implements TypeSerializerSnapshot<Held> {
    private static final int FORMAT = 1;

    private HeldSerializer serializer;

    /** For Flink, which reads the rest afterwards. */
    public Snapshot() {}

    private Snapshot(HeldSerializer serializer) {
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
      serializer = new HeldSerializer(Binary.readString(in));
    }

    @Override
    public TypeSerializer<Held> restoreSerializer() {
      return serializer.duplicate();
    }

    @Override
    public TypeSerializerSchemaCompatibility<Held> resolveSchemaCompatibility(
        TypeSerializerSnapshot<Held> old) {
      return serializer.form().isThatOf(((Snapshot) old).serializer.form())
          ? TypeSerializerSchemaCompatibility.compatibleAsIs()
          : TypeSerializerSchemaCompatibility.compatibleAfterMigration();
    }
  }
}
