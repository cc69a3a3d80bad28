package penstock.kernel.decode;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import penstock.kernel.decode.InvalidEventException.Reason;
import penstock.kernel.plan.Plan;

/** CloudEvents 1.0, structured (JSON) and binary, as each record's content type says. */
final class CloudEventsEnvelope implements Envelope {
  private static final String CONTENT_TYPE = "content-type";
  private static final String STRUCTURED = "application/cloudevents+json";
  private static final String CLOUDEVENTS = "application/cloudevents";
  private static final String SOURCE_AND_ID = "source_and_id";
  private static final String VERSION = "1.0";
  private static final List<String> REQUIRED = List.of("id", "source", "type");
  private static final Pattern ATTRIBUTE_HEADER = Pattern.compile("ce_[a-z0-9]{1,64}");

  private final List<Plan.Field> fields;
  private final JsonDecoder structured;
  private final List<String> attributes = new ArrayList<>();
  private final int data;
  private final int encoded;
  private final int isData;

  CloudEventsEnvelope(List<Plan.Field> fields) {
    this.fields = fields;
    List<Plan.Field> read = new ArrayList<>();
    attributes.add("specversion");
    attributes.addAll(REQUIRED);
    for (Plan.Field field : fields) {
      if (Envelope.isAround(field) && !attributes.contains(attribute(field))) {
        attributes.add(attribute(field));
      }
    }
    attributes.remove(SOURCE_AND_ID);
    attributes.forEach(name -> read.add(Envelope.text(List.of(name))));
    data = read.size();
    for (Plan.Field field : fields) {
      List<String> place = new ArrayList<>(List.of("data"));
      place.addAll(field.place());
      read.add(field.placedAt(place));
    }
    encoded = read.size();
    read.add(Envelope.text(List.of("data_base64")));
    isData = read.size();
    read.add(Envelope.text(List.of("data", "")));
    structured = new JsonDecoder(FieldTree.of(read), read.size());
  }

  @Override
  public List<Plan.Field> read() {
    return fields;
  }

  @Override
  public boolean mayLackValue(RawRecord record) {
    return record.headers().stream().anyMatch(header -> header.name().equals("ce_specversion"));
  }

  @Override
  public Object[] open(RawRecord record, Reader reader)
      throws InvalidEventException, IOException, InterruptedException {
    Map<String, Object> given = attributes(record.headers());
    String type = mediaType((String) given.getOrDefault("datacontenttype", ""));
    if (type.startsWith(CLOUDEVENTS)) {
      if (!type.equals(STRUCTURED)) {
        throw invalid(
            "an event format that is not supported: send " + STRUCTURED + ", or binary mode");
      }
      return structured(record.value() == null ? new byte[0] : record.value(), reader);
    }
    check(given, "the header ce_");
    Object[] values = record.value() == null ? noData() : reader.read(record.value());
    return with(given, values);
  }

  private Object[] structured(byte[] value, Reader reader)
      throws InvalidEventException, IOException, InterruptedException {
    Object[] values = structured.decode(value, 0);
    Map<String, Object> given = new HashMap<>();
    for (int i = 0; i < attributes.size(); i++) {
      given.put(attributes.get(i), values[i]);
    }
    check(given, "");
    given.replaceAll((name, attribute) -> text(attribute));
    boolean hasData = values[isData] != SpecialValue.NO_OBJECT;
    if (values[encoded] != null && values[encoded] != SpecialValue.NULL) {
      if (hasData) {
        throw invalid("a CloudEvent with data and data_base64");
      }
      return with(given, reader.read(decoded(values[encoded])));
    }
    if (!hasData) {
      return with(given, noData());
    }
    if (values[isData] instanceof SpecialValue.Unreadable) {
      throw invalid("the data of the CloudEvent is not an object");
    }
    Object[] found = new Object[fields.size()];
    System.arraycopy(values, data, found, 0, found.length);
    return with(given, found);
  }

  /** The fields of an event whose data is an object without any. */
  private Object[] noData() {
    return fields.stream()
        .map(field -> field.place().size() == 1 ? null : SpecialValue.NO_OBJECT)
        .toArray();
  }

  private Object[] with(Map<String, Object> given, Object[] values) {
    given.put(SOURCE_AND_ID, given.get("source") + " " + given.get("id"));
    for (int i = 0; i < values.length; i++) {
      if (Envelope.isAround(fields.get(i))) {
        values[i] = given.get(attribute(fields.get(i)));
      }
    }
    return values;
  }

  private static String attribute(Plan.Field field) {
    return field.place().get(1);
  }

  /** The attributes in headers; the content type is that of the data. */
  private static Map<String, Object> attributes(List<RawRecord.Header> headers)
      throws InvalidEventException {
    Map<String, Object> found = new HashMap<>();
    Set<String> seen = new HashSet<>();
    for (RawRecord.Header header : headers) {
      String name = header.name();
      boolean isType = name.equals(CONTENT_TYPE);
      if (!isType
          && (name.equals("ce_datacontenttype") || !ATTRIBUTE_HEADER.matcher(name).matches())) {
        continue;
      }
      if (!seen.add(name)) {
        throw invalid("the header " + name + " is there twice");
      }
      if (header.value() != null) {
        try {
          found.put(
              isType ? "datacontenttype" : name.substring("ce_".length()),
              StrictUtf8.decode(header.value(), 0, header.value().length));
        } catch (InvalidEventException invalid) {
          throw invalid("the header " + name + " is not UTF-8");
        }
      }
    }
    return found;
  }

  private static String mediaType(String type) {
    int end = type.indexOf(';');
    String bare = end < 0 ? type : type.substring(0, end);
    return bare.replaceAll("^[ \\t]+|[ \\t]+$", "").toLowerCase(Locale.ROOT);
  }

  private static void check(Map<String, Object> given, String prefix) throws InvalidEventException {
    Object version = given.get("specversion");
    if (version == null || version == SpecialValue.NULL) {
      throw invalid(
          "not a CloudEvent: "
              + prefix
              + "specversion is missing"
              + (prefix.isEmpty()
                  ? ""
                  : "; in structured mode, the header content-type is " + STRUCTURED));
    }
    if (!version.equals(VERSION)) {
      throw invalid(
          "a CloudEvent of a version that is not supported: "
              + prefix
              + "specversion is not "
              + VERSION);
    }
    for (String name : REQUIRED) {
      if (!(given.get(name) instanceof String text) || text.isEmpty()) {
        throw invalid("not a CloudEvent: " + prefix + name + " is missing, empty or not a text");
      }
    }
    if (((String) given.get("source")).indexOf(' ') >= 0) {
      throw invalid(
          "not a CloudEvent: " + prefix + "source is not a URI reference, as it has a blank");
    }
  }

  /**
   * An attribute's text, as binary mode has it; what no attribute can be stays as it is, and no
   * column takes it.
   */
  private static Object text(Object attribute) {
    if (attribute == SpecialValue.NULL) {
      return null;
    }
    return attribute instanceof Boolean || attribute instanceof Long
        ? attribute.toString()
        : attribute;
  }

  private static byte[] decoded(Object encoded) throws InvalidEventException {
    if (encoded instanceof String text) {
      try {
        byte[] decoded = Base64.getDecoder().decode(text);
        if (Base64.getEncoder().encodeToString(decoded).equals(text)) {
          return decoded;
        }
      } catch (IllegalArgumentException error) {
        // As below.
      }
    }
    throw invalid("the data_base64 of the CloudEvent is not base64 with padding");
  }

  private static InvalidEventException invalid(String message) {
    return new InvalidEventException(Reason.UNDECODABLE, message);
  }
}
