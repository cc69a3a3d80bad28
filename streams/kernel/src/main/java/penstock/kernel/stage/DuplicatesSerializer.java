package penstock.kernel.stage;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.SimpleSerializer;

/** {@link Duplicates} in snapshots. */
public final class DuplicatesSerializer extends SimpleSerializer<Duplicates> {
  private static final long serialVersionUID = 1;

  /** For all sources alike. */
  public DuplicatesSerializer() {
    super(false);
  }

  @Override
  public void serialize(Duplicates state, DataOutputView out) throws IOException {
    state.write(out);
  }

  @Override
  public Duplicates deserialize(DataInputView in) throws IOException {
    return Duplicates.read(in);
  }

  @Override
  public Duplicates copy(Duplicates from) {
    return from.copy();
  }

  @Override
  public TypeSerializerSnapshot<Duplicates> snapshotConfiguration() {
    return new Snapshot();
  }

  /** The form of the first release. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<Duplicates> {
    /** For Flink. */
    public Snapshot() {
      super(DuplicatesSerializer::new);
    }
  }
}
