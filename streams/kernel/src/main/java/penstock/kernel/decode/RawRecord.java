package penstock.kernel.decode;

import java.util.List;

/**
 * A record as read from Kafka. {@code key}, {@code value} and a header's value may be null.
 *
 * @param source number of the plan's source that its topic belongs to; negative for reference data:
 *     {@code -1 - i} is the plan's reference topic i. At equal timestamps, a replay takes it first.
 */
public record RawRecord(
    int source,
    int partition,
    long offset,
    long timestamp,
    byte[] key,
    byte[] value,
    List<Header> headers) {

  /** A header. Names may repeat. */
  public record Header(String name, byte[] value) {}
}
