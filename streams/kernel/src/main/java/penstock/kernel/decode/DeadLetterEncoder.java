package penstock.kernel.decode;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import penstock.kernel.encode.OutgoingRecord;

/**
 * Builds dead letters: the record unchanged, plus the headers that {@code schemas/dead_letters.py}
 * documents.
 */
final class DeadLetterEncoder {
  private static final String PREFIX = "__connect.errors.";
  private static final String COMPONENT = "penstock.job";

  private DeadLetterEncoder() {}

  static OutgoingRecord encode(
      String pipeline, String topic, RawRecord record, InvalidEventException invalid) {
    List<RawRecord.Header> headers = new ArrayList<>(record.headers());
    add(headers, "topic", topic);
    add(headers, "partition", String.valueOf(record.partition()));
    add(headers, "offset", String.valueOf(record.offset()));
    add(headers, "connector.name", pipeline);
    add(headers, "stage", invalid.reason.stage);
    add(headers, "class.name", COMPONENT);
    add(headers, "exception.class.name", invalid.reason.label);
    add(headers, "exception.message", invalid.getMessage());
    return new OutgoingRecord(-1, record.key(), record.value(), headers);
  }

  private static void add(List<RawRecord.Header> headers, String name, String value) {
    headers.add(new RawRecord.Header(PREFIX + name, value.getBytes(StandardCharsets.UTF_8)));
  }
}
