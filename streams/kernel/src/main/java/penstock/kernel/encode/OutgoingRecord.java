package penstock.kernel.encode;

import java.util.List;
import penstock.kernel.decode.RawRecord;

/**
 * A record to publish. With {@code partition} -1 the producer chooses the partition. {@code key}
 * and {@code value} may be null.
 */
public record OutgoingRecord(
    int partition, byte[] key, byte[] value, List<RawRecord.Header> headers) {
  /** What Kafka adds to a record in a batch of its own: at most 61 bytes and 21, rounded up. */
  private static final int RECORD_BYTES = 128;

  /** What Kafka adds to a header, at most. */
  private static final int HEADER_BYTES = 10;

  /** No less than what Kafka counts against {@code max.message.bytes}. */
  public long bytes() {
    long bytes = RECORD_BYTES + length(key) + length(value);
    for (RawRecord.Header header : headers) {
      bytes += HEADER_BYTES + 3L * header.name().length() + length(header.value());
    }
    return bytes;
  }

  private static int length(byte[] bytes) {
    return bytes == null ? 0 : bytes.length;
  }
}
