package penstock.kernel.decode;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import penstock.kernel.encode.OutgoingRecord;

/**
 * Builds dead letters: the record unchanged, plus the headers that {@code schemas/dead_letters.py}
 * documents. A letter that its topic would not take has an excerpt of the value, and says how long
 * the value was.
 */
public final class DeadLetterEncoder {
  private static final String PREFIX = "__connect.errors.";
  private static final String COMPONENT = "penstock.job";
  private static final String VALUE_BYTES = "penstock.value.bytes";
  private static final int EXCERPT_BYTES = 16 << 10;

  private DeadLetterEncoder() {}

  /** Which pipeline read a record, and where. */
  public record Place(String pipeline, String topic, int partition, long offset) {}

  static OutgoingRecord encode(
      String pipeline,
      String topic,
      RawRecord record,
      InvalidEventException invalid,
      long maxBytes) {
    Place place = new Place(pipeline, topic, record.partition(), record.offset());
    List<RawRecord.Header> headers = new ArrayList<>(record.headers());
    headers.addAll(reason(place, invalid));
    OutgoingRecord letter = new OutgoingRecord(-1, record.key(), record.value(), headers);
    if (letter.bytes() <= maxBytes) {
      return letter;
    }
    int length = record.value() == null ? 0 : record.value().length;
    byte[] excerpt =
        length <= EXCERPT_BYTES ? record.value() : Arrays.copyOf(record.value(), EXCERPT_BYTES);
    headers.add(valueBytes(length));
    OutgoingRecord cut = new OutgoingRecord(-1, record.key(), excerpt, headers);
    return cut.bytes() <= maxBytes ? cut : bare(-1, excerpt, place, invalid, length);
  }

  /**
   * The letter of a valid event whose feature record is longer than its topic takes.
   *
   * @param excerpt the feature record with its texts and lists cut
   * @param own the feature record's headers
   * @param length the length of the whole feature record
   */
  public static OutgoingRecord unpublished(
      Place place,
      byte[] key,
      byte[] excerpt,
      List<RawRecord.Header> own,
      int length,
      InvalidEventException reason,
      long maxBytes) {
    List<RawRecord.Header> headers = new ArrayList<>(own);
    headers.addAll(reason(place, reason));
    headers.add(valueBytes(length));
    OutgoingRecord letter = new OutgoingRecord(place.partition(), key, excerpt, headers);
    if (letter.bytes() <= maxBytes) {
      return letter;
    }
    OutgoingRecord bare = bare(place.partition(), excerpt, place, reason, length);
    return bare.bytes() <= maxBytes ? bare : bare(place.partition(), null, place, reason, length);
  }

  /** Without the record's key and headers, which may be as long as its value. */
  private static OutgoingRecord bare(
      int partition, byte[] value, Place place, InvalidEventException invalid, int length) {
    List<RawRecord.Header> headers = new ArrayList<>(reason(place, invalid));
    headers.add(valueBytes(length));
    return new OutgoingRecord(partition, null, value, headers);
  }

  private static List<RawRecord.Header> reason(Place place, InvalidEventException invalid) {
    return List.of(
        header(PREFIX + "topic", place.topic()),
        header(PREFIX + "partition", String.valueOf(place.partition())),
        header(PREFIX + "offset", String.valueOf(place.offset())),
        header(PREFIX + "connector.name", place.pipeline()),
        header(PREFIX + "stage", invalid.reason.stage),
        header(PREFIX + "class.name", COMPONENT),
        header(PREFIX + "exception.class.name", invalid.reason.label),
        header(PREFIX + "exception.message", invalid.getMessage()));
  }

  private static RawRecord.Header valueBytes(int length) {
    return header(VALUE_BYTES, String.valueOf(length));
  }

  private static RawRecord.Header header(String name, String value) {
    return new RawRecord.Header(name, value.getBytes(StandardCharsets.UTF_8));
  }
}
