package penstock.kernel.decode;

import java.util.List;
import java.util.Set;

/**
 * Recognises framings of other schema registries, so that a dead letter can say what is wrong with
 * it. {@code schemas/framing.py} has the same rules.
 */
final class Framing {
  private static final int GLUE_HEADER_LENGTH = 18;
  private static final int APICURIO_HEADER_LENGTH = 9;
  private static final Set<String> ID_HEADERS =
      Set.of(
          "__value_schema_id",
          "apicurio.value.globalId",
          "apicurio.value.contentId",
          "apicurio.value.contentHash");

  private Framing() {}

  /** What another framing a value has, or null. */
  static String foreign(byte[] value) {
    if (value.length >= GLUE_HEADER_LENGTH && value[0] == 3 && (value[1] == 0 || value[1] == 5)) {
      return "it looks like AWS Glue's framing (03, compression, 16 bytes of schema version), which"
          + " is not supported: send Confluent's framing, single-object Avro or JSON";
    }
    if (value.length >= APICURIO_HEADER_LENGTH
        && value[0] == 0
        && value[1] == 0
        && value[2] == 0
        && value[3] == 0
        && value[4] == 0) {
      return "it looks like Apicurio's framing with a schema id of 8 bytes, which is not supported:"
          + " let the serializer write ids of 4 bytes, as Confluent's does";
    }
    return null;
  }

  /** How an error goes on about a record that has its schema's id in a header; else empty. */
  static String inHeader(List<RawRecord.Header> headers) {
    for (RawRecord.Header header : headers) {
      if (ID_HEADERS.contains(header.name())) {
        return "; the record has its schema id in the header "
            + header.name()
            + ", which is not supported: let the serializer write it before the value";
      }
    }
    return "";
  }
}
