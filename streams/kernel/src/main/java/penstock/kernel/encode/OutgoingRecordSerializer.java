package penstock.kernel.encode;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.decode.RawRecordSerializer;
import penstock.kernel.event.BaseSerializer;
import penstock.kernel.plan.Binary;

/** Records to publish, between operators that are not chained. */
public final class OutgoingRecordSerializer extends BaseSerializer<OutgoingRecord> {
  private static final long serialVersionUID = 1;

  public OutgoingRecordSerializer() {
    super(true);
  }

  @Override
  public void serialize(OutgoingRecord record, DataOutputView out) throws IOException {
    out.writeInt(record.partition());
    Binary.writeBytes(record.key(), out);
    Binary.writeBytes(record.value(), out);
    RawRecordSerializer.writeHeaders(record.headers(), out);
  }

  @Override
  public OutgoingRecord deserialize(DataInputView in) throws IOException {
    return new OutgoingRecord(
        in.readInt(),
        Binary.readBytes(in),
        Binary.readBytes(in),
        RawRecordSerializer.readHeaders(in));
  }
}
