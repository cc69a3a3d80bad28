package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.BaseSerializer;
import penstock.kernel.event.ConfigurationSnapshot;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.Plan;

/**
 * Entity states in snapshots. The snapshot has the plan, so that a job with another plan can read
 * the states: unchanged views continue, removed views are dropped, new views start empty.
 */
public final class EntityStateSerializer extends BaseSerializer<EntityState> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private final String entity;
  private transient StageSpec spec;
  private transient DataOutputSerializer buffer;

  /** For the plan's stage of {@code entity}. */
  public EntityStateSerializer(String planJson, String entity) {
    this(planJson, entity, null);
  }

  /**
   * With the caller's specification, so that its states need no migration when they are written.
   */
  public EntityStateSerializer(String planJson, String entity, StageSpec spec) {
    super(false, planJson, entity);
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
    if (buffer == null) {
      buffer = new DataOutputSerializer(1024);
    }
    Binary.writeBytes(spec().migrate(state).pack(buffer), out);
  }

  @Override
  public EntityState deserialize(DataInputView in) throws IOException {
    return new EntityState(spec(), Binary.readBytes(in));
  }

  @Override
  public EntityState copy(EntityState from) {
    return from.copy();
  }

  /** Another thread writes the snapshots, and needs a buffer of its own. */
  @Override
  public TypeSerializer<EntityState> duplicate() {
    return new EntityStateSerializer(planJson, entity);
  }

  @Override
  public EntityState createInstance() {
    return spec().newState();
  }

  /** For the message when a state is refused. */
  @Override
  public String toString() {
    return spec().types();
  }

  @Override
  public TypeSerializerSnapshot<EntityState> snapshotConfiguration() {
    return new EntityStateSnapshot(this);
  }

  /** For Flink, which creates it by the constructor without arguments. */
  public static final class EntityStateSnapshot
      extends ConfigurationSnapshot<EntityState, EntityStateSerializer> {
    private static final int FORMAT = 4;

    public EntityStateSnapshot() {
      this(null);
    }

    private EntityStateSnapshot(EntityStateSerializer serializer) {
      super("entity states", FORMAT, serializer);
    }

    @Override
    protected EntityStateSerializer readSerializer(DataInputView in) throws IOException {
      return new EntityStateSerializer(Binary.readString(in), Binary.readString(in));
    }

    @Override
    protected boolean haveSameLayout(EntityStateSerializer one, EntityStateSerializer other) {
      return one.entity.equals(other.entity) && one.spec().hasSameLayout(other.spec());
    }

    @Override
    protected boolean keepsTypes(EntityStateSerializer old, EntityStateSerializer current) {
      return current.spec().keepsTypesOf(old.spec());
    }
  }
}
