package penstock.kernel.decode;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import java.io.IOException;
import penstock.kernel.decode.InvalidEventException.Reason;

/**
 * Reads one JSON object strictly: UTF-8, RFC 8259, nothing after the object. If a name repeats, the
 * last value counts.
 */
final class JsonDecoder implements ValueDecoder {
  private static final int MAX_DEPTH = 100;
  private static final int MAX_DIGITS = 1_000;

  private final FieldTree tree;
  private final int width;
  private final JsonFactory factory;

  /**
   * {@code tree} has the fields to decode, {@code width} is their number. Other fields are only
   * checked for syntax.
   */
  JsonDecoder(FieldTree tree, int width) {
    this.tree = tree;
    this.width = width;
    this.factory =
        JsonFactory.builder()
            .enable(StreamReadFeature.USE_FAST_DOUBLE_PARSER)
            .streamReadConstraints(
                StreamReadConstraints.builder()
                    .maxNestingDepth(MAX_DEPTH)
                    .maxNumberLength(MAX_DIGITS)
                    .maxStringLength(Integer.MAX_VALUE)
                    .maxNameLength(Integer.MAX_VALUE)
                    .build())
            .build();
  }

  @Override
  public Object[] decode(byte[] value, int start) throws InvalidEventException {
    checkEncoding(value, start);
    try (JsonParser parser = factory.createParser(value, start, value.length - start)) {
      if (parser.nextToken() != JsonToken.START_OBJECT) {
        throw new InvalidEventException(Reason.UNDECODABLE, "the JSON document is not an object");
      }
      Object[] fields = new Object[width];
      object(parser, tree, fields);
      if (parser.nextToken() != null) {
        throw new InvalidEventException(Reason.UNDECODABLE, "data follows the JSON document");
      }
      return fields;
    } catch (StreamConstraintsException error) {
      throw new InvalidEventException(
          Reason.UNDECODABLE,
          "JSON nested deeper than "
              + MAX_DEPTH
              + ", or a number of more than "
              + MAX_DIGITS
              + " digits");
    } catch (JsonProcessingException error) {
      // The parser's own message quotes the document.
      long at = error.getLocation() == null ? 0 : error.getLocation().getByteOffset();
      throw new InvalidEventException(Reason.UNDECODABLE, "not JSON (byte " + at + ")");
    } catch (IOException error) {
      throw new InvalidEventException(Reason.UNDECODABLE, "not JSON");
    }
  }

  private static void object(JsonParser parser, FieldTree node, Object[] fields)
      throws IOException {
    node.begin(fields);
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      FieldTree child = node.inner.get(parser.currentName());
      JsonToken token = parser.nextToken();
      if (child == null) {
        parser.skipChildren();
      } else {
        value(parser, token, child, fields);
      }
    }
  }

  private static void value(JsonParser parser, JsonToken token, FieldTree node, Object[] fields)
      throws IOException {
    if (node.isField()) {
      fields[node.index()] = field(parser, token);
      parser.skipChildren();
    } else if (node.isArray() && token == JsonToken.START_ARRAY) {
      FieldTree.Elements elements = node.elements(fields);
      for (JsonToken at = parser.nextToken();
          at != JsonToken.END_ARRAY;
          at = parser.nextToken()) {
        value(parser, at, elements.tree(), elements.element);
        elements.take();
      }
    } else if (!node.isArray() && token == JsonToken.START_OBJECT) {
      object(parser, node, fields);
    } else {
      node.replaced(fields, token == JsonToken.VALUE_NULL);
      parser.skipChildren();
    }
  }

  private static Object field(JsonParser parser, JsonToken token) throws IOException {
    return switch (token) {
      case VALUE_STRING -> parser.getText();
      case VALUE_NUMBER_INT -> integer(parser);
      case VALUE_NUMBER_FLOAT -> parser.getDoubleValue();
      case VALUE_TRUE -> Boolean.TRUE;
      case VALUE_FALSE -> Boolean.FALSE;
      case VALUE_NULL -> SpecialValue.NULL;
      default -> SpecialValue.UNSUPPORTED;
    };
  }

  private static Object integer(JsonParser parser) throws IOException {
    if (parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER) {
      return parser.getLongValue();
    }
    // Read as what it is: otherwise the parser gives its digits for the next number with a
    // fraction.
    return new SpecialValue.HugeInteger(parser.getBigIntegerValue().doubleValue());
  }

  /**
   * Rejects what the parser would accept: UTF-16 and UTF-32, a byte order mark, some malformed
   * UTF-8.
   */
  private static void checkEncoding(byte[] value, int start) throws InvalidEventException {
    boolean ascii = true;
    for (int i = start; i < value.length; i++) {
      ascii &= value[i] >= 0;
    }
    if (!ascii) {
      StrictUtf8.decode(value, start, value.length - start);
      if (value.length >= start + 3
          && value[start] == (byte) 0xEF
          && value[start + 1] == (byte) 0xBB
          && value[start + 2] == (byte) 0xBF) {
        throw new InvalidEventException(Reason.UNDECODABLE, "not JSON (a byte order mark)");
      }
    }
    for (int i = start; i < Math.min(start + 4, value.length); i++) {
      if (value[i] == 0) {
        throw new InvalidEventException(Reason.UNDECODABLE, "not JSON (byte " + (i - start) + ")");
      }
    }
  }
}
