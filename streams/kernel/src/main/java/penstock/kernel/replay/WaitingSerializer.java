package penstock.kernel.replay;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.decode.RawRecordSerializer;
import penstock.kernel.event.SimpleSerializer;

/** Records that wait for their turn, in snapshots. */
public final class WaitingSerializer extends SimpleSerializer<Waiting> {
  private static final long serialVersionUID = 1;

  private final RawRecordSerializer records = new RawRecordSerializer();

  /** For all sources alike. */
  public WaitingSerializer() {
    super(true);
  }

  @Override
  public void serialize(Waiting waiting, DataOutputView out) throws IOException {
    out.writeLong(waiting.time());
    records.serialize(waiting.record(), out);
  }

  @Override
  public Waiting deserialize(DataInputView in) throws IOException {
    return new Waiting(in.readLong(), records.deserialize(in));
  }

  @Override
  public TypeSerializerSnapshot<Waiting> snapshotConfiguration() {
    return new Snapshot();
  }

  /** The form of the first release. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<Waiting> {
    /** For Flink. */
    public Snapshot() {
      super(WaitingSerializer::new);
    }
  }
}
