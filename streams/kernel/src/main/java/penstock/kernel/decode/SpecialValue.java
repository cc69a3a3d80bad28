package penstock.kernel.decode;

/**
 * What a decoder leaves in a field's place: null if the field is missing, one of these marks, or a
 * {@link String}, {@link Long}, {@link Double} or {@link Boolean} as it was written.
 */
enum SpecialValue {
  /** The field is there, and null. */
  NULL,
  /** An array, an object, bytes: a kind that no field of a contract can be. */
  UNSUPPORTED;

  /** An integer beyond 64 bits: no long, but a double may take it. */
  record HugeInteger(double value) {}
}
