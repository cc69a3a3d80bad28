package penstock.kernel.stage;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.BaseSerializer;

/** {@link SeenIds} in state. */
public final class SeenIdsSerializer extends BaseSerializer<SeenIds> {
  private static final long serialVersionUID = 1;

  public SeenIdsSerializer() {
    super(false);
  }

  @Override
  public void serialize(SeenIds state, DataOutputView out) throws IOException {
    state.write(out);
  }

  @Override
  public SeenIds deserialize(DataInputView in) throws IOException {
    return SeenIds.read(in);
  }

  @Override
  public SeenIds copy(SeenIds from) {
    return from.copy();
  }

  @Override
  public TypeSerializerSnapshot<SeenIds> snapshotConfiguration() {
    return new SeenIdsSnapshot();
  }

  /** For Flink. */
  public static final class SeenIdsSnapshot extends SimpleTypeSerializerSnapshot<SeenIds> {
    public SeenIdsSnapshot() {
      super(SeenIdsSerializer::new);
    }
  }
}
