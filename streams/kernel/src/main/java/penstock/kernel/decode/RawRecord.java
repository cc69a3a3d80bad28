package penstock.kernel.decode;

import java.util.List;

/**
 * A record as it lies in Kafka. {@code key}, {@code value} and a header's value may be null.
 *
 * @param source which of the plan's sources its topic is
 */
public record RawRecord(
    int source,
    int partition,
    long offset,
    long timestamp,
    byte[] key,
    byte[] value,
    List<Header> headers) {

  /** One header of the record; names may repeat. */
  public record Header(String name, byte[] value) {}
}
