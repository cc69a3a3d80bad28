package penstock.kernel.decode;

/**
 * Decoded values that have no Java type of their own. A decoder gives null for a missing field, one
 * of these, or the written {@link String}, {@link Long}, {@link Double} or {@link Boolean}.
 */
enum SpecialValue {
  /** The field is present, and null. */
  NULL,
  /** A type that no contract field can have, such as an array, an object or bytes. */
  UNSUPPORTED;

  /** An integer beyond 64 bits. It is valid only for a double field. */
  record HugeInteger(double value) {}
}
