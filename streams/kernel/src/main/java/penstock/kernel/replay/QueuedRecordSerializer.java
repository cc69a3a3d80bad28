package penstock.kernel.replay;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.decode.RawRecordSerializer;
import penstock.kernel.event.BaseSerializer;

/** Queued records in snapshots. */
public final class QueuedRecordSerializer extends BaseSerializer<QueuedRecord> {
  private static final long serialVersionUID = 1;

  private final RawRecordSerializer records = new RawRecordSerializer();

  public QueuedRecordSerializer() {
    super(true);
  }

  @Override
  public void serialize(QueuedRecord queued, DataOutputView out) throws IOException {
    out.writeLong(queued.time());
    records.serialize(queued.record(), out);
  }

  @Override
  public QueuedRecord deserialize(DataInputView in) throws IOException {
    return new QueuedRecord(in.readLong(), records.deserialize(in));
  }

  @Override
  public TypeSerializerSnapshot<QueuedRecord> snapshotConfiguration() {
    return new QueuedRecordSnapshot();
  }

  /** For Flink. */
  public static final class QueuedRecordSnapshot
      extends SimpleTypeSerializerSnapshot<QueuedRecord> {
    public QueuedRecordSnapshot() {
      super(QueuedRecordSerializer::new);
    }
  }
}
