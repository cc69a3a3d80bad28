package penstock.kernel.decode;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericFixed;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.Decoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.util.Utf8;
import penstock.kernel.decode.InvalidEventException.Reason;
import penstock.kernel.decode.SpecialValue.Unreadable;
import penstock.kernel.plan.Plan;

/**
 * Reads Avro binary by the writer's schema. The contract's rules apply to the written fields by
 * name, as with JSON: a field that the writer did not have takes the contract's default.
 */
final class AvroDecoder implements ValueDecoder {
  static {
    // A few corrupt bytes can claim a string of 2 GB, which Avro would allocate. No event may be
    // longer than this.
    System.setProperty("org.apache.avro.limits.string.maxLength", String.valueOf(32 << 20));
    System.setProperty("org.apache.avro.limits.bytes.maxLength", String.valueOf(32 << 20));
  }

  private final FieldTree tree;
  private final Schema[] logical;
  private final Schema schema;
  private final GenericDatumReader<GenericRecord> reader;
  private BinaryDecoder decoder;

  /** For records of schema {@code writer}, to decode {@code fields}, which {@code tree} has. */
  AvroDecoder(Schema writer, FieldTree tree, List<Plan.Field> fields, String eventTime) {
    this.tree = tree;
    this.logical = new Schema[fields.size()];
    for (int i = 0; i < logical.length; i++) {
      Plan.Field field = fields.get(i);
      logical[i] = LogicalTypes.of(writer, field, field.name().equals(eventTime));
    }
    this.schema = writer;
    this.reader = new Reader(writer);
  }

  @Override
  public Object[] decode(byte[] value, int start) throws InvalidEventException {
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
    Object[] fields = new Object[logical.length];
    object(record, tree, fields);
    for (int i = 0; i < fields.length; i++) {
      if (logical[i] != null) {
        fields[i] = withLogicalType(fields[i], logical[i]);
      }
    }
    return fields;
  }

  private static void object(Object value, FieldTree node, Object[] fields) {
    node.begin(fields);
    for (Map.Entry<String, FieldTree> entry : node.inner.entrySet()) {
      FieldTree child = entry.getValue();
      String name = has(value, entry.getKey()) ? entry.getKey() : child.avroName;
      if (!has(value, name)) {
        continue;
      }
      Object found =
          value instanceof GenericRecord record ? record.get(name) : ((Map<?, ?>) value).get(name);
      value(found, child, fields);
    }
  }

  private static void value(Object found, FieldTree node, Object[] fields) {
    if (node.isField()) {
      fields[node.index()] = raw(found);
    } else if (node.isArray() && found instanceof Collection<?> array) {
      FieldTree.Elements elements = node.elements(fields);
      for (Object element : array) {
        value(element, elements.tree(), elements.element);
        elements.take();
      }
    } else if (!node.isArray() && (found instanceof GenericRecord || found instanceof Map)) {
      object(found, node, fields);
    } else {
      node.replaced(fields, found == null);
    }
  }

  private static boolean has(Object value, String name) {
    return value instanceof GenericRecord record
        ? record.getSchema().getField(name) != null
        : ((Map<?, ?>) value).containsKey(name);
  }

  /**
   * Reserves no memory for what an array or a map claims to have: a few bytes can claim 2^31. Texts
   * become strings, whatever the writer's schema says of Java's types, and must be UTF-8.
   */
  private static final class Reader extends GenericDatumReader<GenericRecord> {
    private static final int MOST_RESERVED = 16;

    Reader(Schema writer) {
      super(writer, writer, new GenericData());
    }

    @Override
    protected Object readString(Object old, Schema expected, Decoder in) throws IOException {
      Utf8 text = in.readString(null);
      try {
        return StrictUtf8.decode(text.getBytes(), 0, text.getByteLength());
      } catch (InvalidEventException invalid) {
        throw new AvroRuntimeException(invalid.getMessage());
      }
    }

    @Override
    protected Object readMapKey(Object old, Schema expected, Decoder in) throws IOException {
      return readString(old, expected, in);
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

  /** A written value, or of a list each of them, with its logical type. */
  private static Object withLogicalType(Object value, Schema logical) {
    if (value instanceof List<?> elements) {
      List<Object> found = new ArrayList<>(elements.size());
      elements.forEach(element -> found.add(withLogicalType(element, logical)));
      return found;
    }
    return value == null || value instanceof SpecialValue || value instanceof Unreadable
        ? value
        : new SpecialValue.Logical(value, LogicalTypes.name(logical), LogicalTypes.scale(logical));
  }

  private static Object raw(Object value) {
    if (value == null) {
      return SpecialValue.NULL;
    }
    if (value instanceof ByteBuffer buffer) {
      byte[] bytes = new byte[buffer.remaining()];
      buffer.duplicate().get(bytes);
      return bytes;
    }
    if (value instanceof GenericFixed fixed) {
      return fixed.bytes();
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
    return value instanceof String
            || value instanceof Long
            || value instanceof Double
            || value instanceof Boolean
        ? value
        : SpecialValue.UNSUPPORTED;
  }
}
