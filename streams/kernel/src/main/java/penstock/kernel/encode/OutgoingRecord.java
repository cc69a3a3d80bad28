package penstock.kernel.encode;

import java.util.List;
import penstock.kernel.decode.RawRecord;

/**
 * A record to publish. With {@code partition} -1 the producer chooses the partition. {@code key}
 * and {@code value} may be null.
 */
public record OutgoingRecord(
    int partition, byte[] key, byte[] value, List<RawRecord.Header> headers) {}
