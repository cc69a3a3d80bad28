package penstock.kernel.decode;

/**
 * Decoded values that have no Java type of their own. A decoder gives null for a missing field, one
 * of these, or the written {@link String}, {@link Long}, {@link Double}, {@link Boolean} or bytes;
 * for a list, a {@link java.util.List} with one of all these for each element.
 */
enum SpecialValue {
  /** The field is present, and null. */
  NULL,
  /** One of the objects on the way to the field is missing or null. */
  NO_OBJECT,
  /** A type that no contract field can have, such as an array or an object. */
  UNSUPPORTED;

  /** An integer beyond 64 bits. It is valid only for a double field. */
  record HugeInteger(double value) {}

  /** A value that Avro's writer gave a logical type, such as {@code decimal}. */
  record Logical(Object value, String type, int scale) {}

  /** A value that its field's form does not allow; the problem does not quote it. */
  record Unreadable(String problem) {}
}
