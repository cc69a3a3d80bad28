package penstock.kernel.decode;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.BaseSerializer;
import penstock.kernel.plan.Binary;

/** Raw records between operators that are not chained. */
public final class RawRecordSerializer extends BaseSerializer<RawRecord> {
  private static final long serialVersionUID = 1;

  public RawRecordSerializer() {
    super(true);
  }

  @Override
  public void serialize(RawRecord record, DataOutputView out) throws IOException {
    out.writeByte(record.source());
    out.writeInt(record.partition());
    out.writeLong(record.offset());
    out.writeLong(record.timestamp());
    Binary.writeBytes(record.key(), out);
    Binary.writeBytes(record.value(), out);
    writeHeaders(record.headers(), out);
  }

  @Override
  public RawRecord deserialize(DataInputView in) throws IOException {
    return new RawRecord(
        in.readByte(),
        in.readInt(),
        in.readLong(),
        in.readLong(),
        Binary.readBytes(in),
        Binary.readBytes(in),
        readHeaders(in));
  }

  /** Writes headers in their order. */
  public static void writeHeaders(List<RawRecord.Header> headers, DataOutputView out)
      throws IOException {
    Binary.writeSize(headers.size(), out);
    for (RawRecord.Header header : headers) {
      Binary.writeString(header.name(), out);
      Binary.writeBytes(header.value(), out);
    }
  }

  /** Reads what {@link #writeHeaders} wrote. */
  public static List<RawRecord.Header> readHeaders(DataInputView in) throws IOException {
    int count = Binary.readSize(in);
    List<RawRecord.Header> headers = new ArrayList<>(count);
    for (int i = 0; i < count; i++) {
      headers.add(new RawRecord.Header(Binary.readString(in), Binary.readBytes(in)));
    }
    return headers;
  }
}
