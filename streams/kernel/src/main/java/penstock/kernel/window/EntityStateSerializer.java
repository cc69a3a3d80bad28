package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.MutableSerializer;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.Plan;

/**
 * Entity states in snapshots. A snapshot carries the plan by which its states are laid out, so that
 * a job with another plan reads it: views that still mean the same continue, those that are gone
 * are dropped, new ones start empty.
 */
public final class EntityStateSerializer extends MutableSerializer<EntityState> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final String entity;
  private transient StageSpec spec;
  private transient DataOutputSerializer buffer;

  /** For the states of the plan's stage that is keyed by {@code entity}. */
  public EntityStateSerializer(String planJson, String entity) {
    this(planJson, entity, null);
  }

  /** Shares the caller's specification, so that its states are written without being migrated. */
  public EntityStateSerializer(String planJson, String entity, StageSpec spec) {
    this.planJson = planJson;
    this.entity = entity;
    this.spec = spec;
  }

  private StageSpec spec() {
    if (spec == null) {
      spec = StageSpec.of(Plan.parse(planJson), entity);
    }
    return spec;
  }

  @Override
  public void serialize(EntityState state, DataOutputView out) throws IOException {
    // Thousands of small writes to the stream of a checkpoint cost more than what they write.
    if (buffer == null) {
      buffer = new DataOutputSerializer(1024);
    }
    buffer.clear();
    spec().migrate(state).write(buffer);
    Binary.writeSize(buffer.length(), out);
    out.write(buffer.getSharedBuffer(), 0, buffer.length());
  }

  @Override
  public EntityState deserialize(DataInputView in) throws IOException {
    return EntityState.read(spec(), new DataInputDeserializer(Binary.readBytes(in)));
  }

  @Override
  public EntityState copy(EntityState from) {
    return from.copy();
  }

  /** Snapshots are written by another thread, which must not share the scratch space. */
  @Override
  public TypeSerializer<EntityState> duplicate() {
    return new EntityStateSerializer(planJson, entity);
  }

  @Override
  public EntityState createInstance() {
    return spec().newState();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof EntityStateSerializer that
        && that.planJson.equals(planJson)
        && that.entity.equals(entity);
  }

  @Override
  public int hashCode() {
    return 31 * planJson.hashCode() + entity.hashCode();
  }

  @Override
  public TypeSerializerSnapshot<EntityState> snapshotConfiguration() {
    return new Snapshot(this);
  }

  /** The part of a snapshot that says how its states are laid out. */
  public static final class Snapshot implements TypeSerializerSnapshot<EntityState> {
    private static final int FORMAT = 2;

    private EntityStateSerializer serializer;

    /** For Flink, which reads the rest afterwards. */
    public Snapshot() {}

    private Snapshot(EntityStateSerializer serializer) {
      this.serializer = serializer;
    }

    @Override
    public int getCurrentVersion() {
      return FORMAT;
    }

    @Override
    public void writeSnapshot(DataOutputView out) throws IOException {
      Binary.writeString(serializer.planJson, out);
      Binary.writeString(serializer.entity, out);
    }

    @Override
    public void readSnapshot(int version, DataInputView in, ClassLoader loader) throws IOException {
      if (version != FORMAT) {
        throw new IOException(
            "the savepoint has state format %d, and this release reads %d: go on with the release that wrote it, or start the job without a savepoint"
                .formatted(version, FORMAT));
      }
      serializer = new EntityStateSerializer(Binary.readString(in), Binary.readString(in));
    }

    @Override
    public TypeSerializer<EntityState> restoreSerializer() {
      return serializer.duplicate();
    }

    @Override
    public TypeSerializerSchemaCompatibility<EntityState> resolveSchemaCompatibility(
        TypeSerializerSnapshot<EntityState> old) {
      EntityStateSerializer before = ((Snapshot) old).serializer;
      return before.entity.equals(serializer.entity)
              && serializer.spec().hasSameLayout(before.spec())
          ? TypeSerializerSchemaCompatibility.compatibleAsIs()
          : TypeSerializerSchemaCompatibility.compatibleAfterMigration();
    }
  }
}
