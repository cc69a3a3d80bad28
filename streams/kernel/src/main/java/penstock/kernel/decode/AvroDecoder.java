package penstock.kernel.decode;

import java.io.EOFException;
import java.io.IOException;
import java.util.Map;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;
import penstock.kernel.decode.InvalidEventException.Reason;

/**
 * Reads Avro binary by the writer's schema. The contract's rules apply to the written fields by
 * name, as with JSON: a field that the writer did not have takes the contract's default.
 */
final class AvroDecoder {
  static {
    // A few corrupt bytes can claim a string of 2 GB, which Avro would allocate. No event may be
    // longer than this.
    System.setProperty("org.apache.avro.limits.string.maxLength", String.valueOf(32 << 20));
    System.setProperty("org.apache.avro.limits.bytes.maxLength", String.valueOf(32 << 20));
  }

  private final Map<String, Integer> indexes;
  private final Schema schema;
  private final GenericDatumReader<GenericRecord> reader;
  private BinaryDecoder decoder;

  /**
   * For records of schema {@code writer}. {@code indexes} maps the fields to decode to their
   * indexes in the result.
   */
  AvroDecoder(Schema writer, Map<String, Integer> indexes) {
    this.indexes = indexes;
    this.schema = writer;
    this.reader = new Reader(writer);
  }

  Object[] decode(byte[] value, int start) throws InvalidEventException {
    if (schema.getType() != Schema.Type.RECORD) {
      throw new InvalidEventException(
          Reason.UNDECODABLE, "the Avro schema is not that of a record");
    }
    GenericRecord record;
    try {
      decoder = DecoderFactory.get().binaryDecoder(value, start, value.length - start, decoder);
      record = reader.read(null, decoder);
      if (!decoder.isEnd()) {
        throw new InvalidEventException(Reason.UNDECODABLE, "bytes follow the Avro record");
      }
    } catch (EOFException error) {
      throw new InvalidEventException(Reason.UNDECODABLE, "the Avro bytes end early");
    } catch (IOException
        | AvroRuntimeException
        | IndexOutOfBoundsException
        | IllegalArgumentException
        | UnsupportedOperationException
        | NegativeArraySizeException error) {
      throw new InvalidEventException(
          Reason.UNDECODABLE,
          "the Avro bytes do not fit their schema (" + error.getClass().getSimpleName() + ")");
    }
    Object[] fields = new Object[indexes.size()];
    for (Schema.Field field : schema.getFields()) {
      Integer index = indexes.get(field.name());
      Object raw = raw(record.get(field.pos()));
      if (index != null) {
        fields[index] = raw;
      }
    }
    return fields;
  }

  /** Reserves no memory for what an array or a map claims to have: a few bytes can claim 2^31. */
  private static final class Reader extends GenericDatumReader<GenericRecord> {
    private static final int MOST_RESERVED = 16;

    Reader(Schema writer) {
      super(writer, writer, new GenericData());
    }

    @Override
    protected Object newArray(Object old, int size, Schema schema) {
      return super.newArray(old, Math.min(size, MOST_RESERVED), schema);
    }

    @Override
    protected Object newMap(Object old, int size) {
      return super.newMap(old, Math.min(size, MOST_RESERVED));
    }
  }

  private static Object raw(Object value) throws InvalidEventException {
    if (value == null) {
      return SpecialValue.NULL;
    }
    if (value instanceof Utf8 text) {
      return StrictUtf8.decode(text.getBytes(), 0, text.getByteLength());
    }
    if (value instanceof GenericData.EnumSymbol symbol) {
      return symbol.toString();
    }
    if (value instanceof Integer number) {
      return number.longValue();
    }
    if (value instanceof Float number) {
      return number.doubleValue();
    }
    return value instanceof Long || value instanceof Double || value instanceof Boolean
        ? value
        : SpecialValue.UNSUPPORTED;
  }
}
