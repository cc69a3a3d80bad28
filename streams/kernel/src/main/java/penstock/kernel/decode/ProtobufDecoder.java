package penstock.kernel.decode;

import com.google.protobuf.ByteString;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import java.math.BigInteger;
import java.util.List;
import java.util.Map;
import java.util.Set;
import penstock.kernel.decode.InvalidEventException.Reason;
import penstock.kernel.plan.Plan;

/**
 * Reads Protobuf messages, after Confluent's list of message indexes. {@code schemas/protobuf.py}
 * has the same rules, and says them.
 */
final class ProtobufDecoder implements ValueDecoder {
  private static final String PACKAGE = "google.protobuf.";
  private static final Set<String> WRAPPERS =
      Set.of(
          "DoubleValue",
          "FloatValue",
          "Int64Value",
          "UInt64Value",
          "Int32Value",
          "UInt32Value",
          "BoolValue",
          "StringValue",
          "BytesValue");
  private static final int LONGEST_INDEX = 5;
  private static final char REPLACEMENT = '\ufffd';

  private final FieldTree tree;
  private final boolean[] isTime;
  private final FileDescriptor file;

  /** For messages of {@code file}, to decode {@code fields}, which {@code tree} has. */
  ProtobufDecoder(FileDescriptor file, FieldTree tree, List<Plan.Field> fields, String eventTime) {
    this.file = file;
    this.tree = tree;
    this.isTime = new boolean[fields.size()];
    for (int i = 0; i < isTime.length; i++) {
      Plan.Field field = fields.get(i);
      isTime[i] = WrittenValue.isTime(field, field.name().equals(eventTime));
    }
  }

  @Override
  public Object[] decode(byte[] value, int start) throws InvalidEventException {
    Indexes indexes = new Indexes(value, start);
    Descriptor descriptor = indexes.message(file);
    DynamicMessage.Builder message = DynamicMessage.newBuilder(descriptor);
    try {
      message.mergeFrom(value, indexes.at, value.length - indexes.at);
    } catch (InvalidProtocolBufferException error) {
      throw new InvalidEventException(
          Reason.UNDECODABLE, "the bytes are no message of the Protobuf schema");
    }
    Object[] fields = new Object[isTime.length];
    object(message.buildPartial(), tree, fields);
    return fields;
  }

  private void object(Message message, FieldTree node, Object[] fields) {
    node.begin(fields);
    for (Map.Entry<String, FieldTree> entry : node.inner.entrySet()) {
      FieldTree child = entry.getValue();
      FieldDescriptor field = message.getDescriptorForType().findFieldByName(entry.getKey());
      if (field == null) {
        field = message.getDescriptorForType().findFieldByName(child.avroName);
      }
      if (field == null || field.hasPresence() && !message.hasField(field)) {
        continue;
      }
      Object value = message.getField(field);
      if (!field.isRepeated()) {
        value(value, field, child, fields);
      } else if (field.isMapField() && !child.isField() && !child.isArray()) {
        entries((List<?>) value, field, child, fields);
      } else if (child.isArray() && !field.isMapField()) {
        FieldTree.Elements elements = child.elements(fields);
        for (Object element : (List<?>) value) {
          value(element, field, elements.tree(), elements.element);
          elements.take();
        }
      } else if (child.isField()) {
        fields[child.index()] = SpecialValue.UNSUPPORTED;
      } else {
        child.replaced(fields, false);
      }
    }
  }

  /** A map as an object. */
  private void entries(List<?> entries, FieldDescriptor field, FieldTree node, Object[] fields) {
    FieldDescriptor keys = field.getMessageType().findFieldByName("key");
    FieldDescriptor values = field.getMessageType().findFieldByName("value");
    if (keys.getType() != FieldDescriptor.Type.STRING) {
      node.replaced(fields, false);
      return;
    }
    node.begin(fields);
    for (Map.Entry<String, FieldTree> entry : node.inner.entrySet()) {
      Message found = null;
      Message foundByAvroName = null;
      for (Object each : entries) {
        Message pair = (Message) each;
        if (pair.getUnknownFields().hasField(values.getNumber())) {
          continue; // A closed enum has no such value: the entry is none, not its default.
        }
        found = pair.getField(keys).equals(entry.getKey()) ? pair : found;
        foundByAvroName =
            pair.getField(keys).equals(entry.getValue().avroName) ? pair : foundByAvroName;
      }
      found = found == null ? foundByAvroName : found;
      if (found != null) {
        value(found.getField(values), values, entry.getValue(), fields);
      }
    }
  }

  /** A value that is no array. */
  private void value(Object value, FieldDescriptor field, FieldTree child, Object[] fields) {
    if (child.isField()) {
      fields[child.index()] = raw(value, field, isTime[child.column()]);
    } else if (!child.isArray() && value instanceof Message message) {
      object(message, child, fields);
    } else {
      child.replaced(fields, false);
    }
  }

  private static Object raw(Object value, FieldDescriptor field, boolean isTime) {
    if (!(value instanceof Message message)) {
      return scalar(value, field);
    }
    String name = message.getDescriptorForType().getFullName();
    if (!name.startsWith(PACKAGE)) {
      return SpecialValue.UNSUPPORTED;
    }
    name = name.substring(PACKAGE.length());
    if (name.equals("Timestamp") && isTime) {
      return timestamp(message);
    }
    if (!WRAPPERS.contains(name)) {
      return SpecialValue.UNSUPPORTED;
    }
    FieldDescriptor inner = message.getDescriptorForType().findFieldByName("value");
    return scalar(message.getField(inner), inner);
  }

  private static Object timestamp(Message message) {
    Descriptor type = message.getDescriptorForType();
    long seconds = (Long) message.getField(type.findFieldByName("seconds"));
    int nanos = (Integer) message.getField(type.findFieldByName("nanos"));
    try {
      long micros =
          Math.addExact(Math.multiplyExact(seconds, 1_000_000L), Math.floorDiv(nanos, 1_000));
      return new SpecialValue.Logical(micros, "timestamp-micros", 0);
    } catch (ArithmeticException tooLong) {
      return new SpecialValue.HugeInteger(seconds * 1e6);
    }
  }

  private static Object scalar(Object value, FieldDescriptor field) {
    return switch (field.getType()) {
      case UINT32, FIXED32 -> Integer.toUnsignedLong((Integer) value);
      case INT32, SINT32, SFIXED32 -> ((Integer) value).longValue();
      case UINT64, FIXED64 -> unsigned((Long) value);
      case FLOAT -> ((Float) value).doubleValue();
      case BYTES -> ((ByteString) value).toByteArray();
      case ENUM -> {
        EnumValueDescriptor found =
            field.getEnumType().findValueByNumber(((EnumValueDescriptor) value).getNumber());
        yield found == null
            ? String.valueOf(((EnumValueDescriptor) value).getNumber())
            : found.getName();
      }
      case STRING -> {
        // Of texts that the library does not check, it has replaced what is no text.
        boolean isChecked = field.getFile().toProto().getSyntax().equals("proto3");
        yield isChecked || ((String) value).indexOf(REPLACEMENT) < 0
            ? value
            : new SpecialValue.Unreadable("is not UTF-8");
      }
      case INT64, SINT64, SFIXED64, DOUBLE, BOOL -> value;
      default -> SpecialValue.UNSUPPORTED;
    };
  }

  private static Object unsigned(long value) {
    return value >= 0
        ? value
        : new SpecialValue.HugeInteger(new BigInteger(Long.toUnsignedString(value)).doubleValue());
  }

  /** Reads the list of indexes that says which message of the file a value is. */
  private static final class Indexes {
    private final byte[] value;
    private int at;

    Indexes(byte[] value, int start) {
      this.value = value;
      this.at = start;
    }

    Descriptor message(FileDescriptor file) throws InvalidEventException {
      int count = next();
      if (count < 0 || count > value.length - at) {
        throw new InvalidEventException(
            Reason.UNDECODABLE,
            "Confluent framing whose list of message indexes is longer than the value");
      }
      List<Descriptor> messages = file.getMessageTypes();
      Descriptor message = null;
      for (int i = 0; i < Math.max(count, 1); i++) {
        int index = count == 0 ? 0 : next();
        if (index < 0 || index >= messages.size()) {
          throw new InvalidEventException(
              Reason.UNDECODABLE, "Confluent framing whose message index the schema does not have");
        }
        message = messages.get(index);
        messages = message.getNestedTypes();
      }
      return message;
    }

    /** A zigzag integer of 32 bits. */
    private int next() throws InvalidEventException {
      long number = 0;
      for (int i = 0; i < LONGEST_INDEX; i++) {
        if (at >= value.length) {
          throw new InvalidEventException(
              Reason.UNDECODABLE, "Confluent framing that ends within its list of message indexes");
        }
        byte b = value[at++];
        number |= (b & 0x7FL) << 7 * i;
        if (b >= 0) {
          int found = (int) number;
          return found >>> 1 ^ -(found & 1);
        }
      }
      throw new InvalidEventException(
          Reason.UNDECODABLE, "Confluent framing with a message index of more than 32 bits");
    }
  }
}
