package penstock.kernel.decode;

/** Reads values that are written in one way. */
interface ValueDecoder {
  /**
   * The fields of the contract, as {@link WrittenValue} takes them, in the value that begins at
   * {@code start}.
   */
  Object[] decode(byte[] value, int start) throws InvalidEventException;
}
