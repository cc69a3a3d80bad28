package penstock.kernel.decode;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import penstock.kernel.decode.SpecialValue.HugeInteger;
import penstock.kernel.decode.SpecialValue.Logical;
import penstock.kernel.decode.SpecialValue.Unreadable;
import penstock.kernel.plan.ColumnType;
import penstock.kernel.plan.Plan;

/**
 * From a written value to the value of its column. {@code schemas/conversions.py} has the same
 * rules.
 */
final class WrittenValue {
  /** Avro's logical types of times with a zone. */
  static final Set<String> TIMESTAMPS =
      Set.of("timestamp-millis", "timestamp-micros", "timestamp-nanos");

  private static final Set<String> TIMES =
      Set.of("iso8601", "seconds", "microseconds", "nanoseconds");
  private static final Pattern ISO =
      Pattern.compile(
          "([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
              + "([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?");
  private static final Pattern UUID_TEXT =
      Pattern.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}");
  private static final Pattern DECIMAL = Pattern.compile("[+-]?[0-9]+(\\.[0-9]+)?");
  private static final Pattern DATE = Pattern.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}");
  private static final int LONGEST_DECIMAL = 100;
  private static final int MOST_BYTES = 40;
  private static final int UUID_BYTES = 16;
  private static final long FIRST_DAY = LocalDate.of(1, 1, 1).toEpochDay();
  private static final long LAST_DAY = LocalDate.of(9999, 12, 31).toEpochDay();

  private WrittenValue() {}

  /** Whether the column is a time, for which Avro's timestamps count. */
  static boolean isTime(Plan.Field field, boolean isEventTime) {
    return isEventTime || field.written() != null && TIMES.contains(field.written());
  }

  /** The value for {@link FieldValidator} to check; an {@link Unreadable} it refuses. */
  static Object column(Plan.Field field, boolean isEventTime, Object raw) {
    if (raw instanceof List<?> elements) {
      List<Object> found = new ArrayList<>(elements.size());
      elements.forEach(element -> found.add(column(field, isEventTime, element)));
      return found;
    }
    if (field.isPlain() && !(raw instanceof Logical)) {
      return raw;
    }
    Logical logical = raw instanceof Logical found ? found : null;
    Object value = logical == null ? raw : logical.value();
    if (value == null
        || value == SpecialValue.NULL
        || value == SpecialValue.NO_OBJECT
        || value instanceof Unreadable) {
      return value;
    }
    if (field.otherwise() != null && value instanceof String text) {
      return field.values().contains(text) ? text : field.otherwise();
    }
    if (isTime(field, isEventTime)) {
      return time(value, form(field, value, logical));
    }
    if (field.written() == null) {
      return value;
    }
    return switch (field.written()) {
      case "date" -> date(value, field.type().element() == ColumnType.LONG);
      case "uuid" -> uuid(value);
      case "bytes" -> bytes(value);
      case "decimal" -> decimal(field, value, logical);
      default -> throw new IllegalArgumentException("the kernel cannot read " + field.written());
    };
  }

  private static String form(Plan.Field field, Object value, Logical logical) {
    if (logical == null || !(value instanceof Long)) {
      return field.written();
    }
    return switch (logical.type()) {
      case "timestamp-micros" -> "microseconds";
      case "timestamp-nanos" -> "nanoseconds";
      default -> null;
    };
  }

  private static Object time(Object value, String form) {
    if (form == null) {
      return value;
    }
    if (form.equals("iso8601")) {
      return value instanceof String text
          ? isoMs(text)
          : new Unreadable("must be a text, a time in ISO 8601 with its zone");
    }
    if (value instanceof HugeInteger) {
      return value;
    }
    if (!(value instanceof Long time)) {
      return new Unreadable("must be an integer, " + form + " since 1970");
    }
    return switch (form) {
      case "seconds" ->
          time >= Long.MIN_VALUE / 1_000 && time <= Long.MAX_VALUE / 1_000
              ? time * 1_000
              : new HugeInteger(time * 1e3);
      case "microseconds" -> Math.floorDiv(time, 1_000L);
      default -> Math.floorDiv(time, 1_000_000L);
    };
  }

  private static Object isoMs(String text) {
    Matcher match = ISO.matcher(text);
    if (!match.matches()) {
      return new Unreadable("must be a time in ISO 8601, such as 2026-03-01T12:30:00.250Z");
    }
    String zone = match.group(6);
    if (zone == null) {
      return new Unreadable("has no zone: it must end with Z or an offset such as +01:00");
    }
    int hours = 0;
    int minutes = 0;
    if (zone.length() > 1) {
      String digits = zone.substring(1).replace(":", "") + "00";
      hours = Integer.parseInt(digits.substring(0, 2));
      minutes = Integer.parseInt(digits.substring(2, 4));
    }
    int offset = (hours * 60 + minutes) * (zone.charAt(0) == '-' ? -1 : 1);
    Long days = days(match.group(1));
    int hour = Integer.parseInt(match.group(2));
    int minute = Integer.parseInt(match.group(3));
    int second = match.group(4) == null ? 0 : Integer.parseInt(match.group(4));
    if (days == null || hour > 23 || minute > 59 || second > 59 || hours > 23 || minutes > 59) {
      return new Unreadable("is not a time that exists");
    }
    String fraction = (match.group(5) == null ? "" : match.group(5)) + "000";
    long seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second;
    return seconds * 1_000 + Integer.parseInt(fraction.substring(0, 3));
  }

  /** Days since 1970 of a date between the years 1 and 9999; null if it does not exist. */
  private static Long days(String text) {
    try {
      long days = LocalDate.parse(text).toEpochDay();
      return days < FIRST_DAY || days > LAST_DAY ? null : days;
    } catch (DateTimeException error) {
      return null;
    }
  }

  private static Object date(Object value, boolean asDays) {
    Long days = null;
    if (value instanceof Long number && number >= FIRST_DAY && number <= LAST_DAY) {
      days = number;
    } else if (value instanceof String text && DATE.matcher(text).matches()) {
      days = days(text);
    }
    if (days == null) {
      return new Unreadable("must be a date: YYYY-MM-DD, or days since 1970");
    }
    if (asDays) {
      return days;
    }
    return LocalDate.ofEpochDay(days).toString();
  }

  private static Object uuid(Object value) {
    if (value instanceof byte[] bytes && bytes.length == UUID_BYTES) {
      ByteBuffer halves = ByteBuffer.wrap(bytes);
      return new UUID(halves.getLong(), halves.getLong()).toString();
    }
    if (value instanceof String text && UUID_TEXT.matcher(text).matches()) {
      return text.toLowerCase(Locale.ROOT);
    }
    return new Unreadable("must be a UUID");
  }

  private static Object bytes(Object value) {
    if (value instanceof byte[] bytes) {
      return Base64.getEncoder().encodeToString(bytes);
    }
    if (value instanceof String text && isBase64(text)) {
      return text;
    }
    return new Unreadable("must be bytes, in JSON as base64 with padding");
  }

  private static boolean isBase64(String text) {
    try {
      return Base64.getEncoder().encodeToString(Base64.getDecoder().decode(text)).equals(text);
    } catch (IllegalArgumentException error) {
      return false;
    }
  }

  private static Object decimal(Plan.Field field, Object value, Logical logical) {
    Unreadable tooLong = new Unreadable("must have at most " + field.precision() + " digits");
    BigDecimal written;
    if (value instanceof byte[] bytes && bytes.length > 0) {
      int scale = logical == null ? field.scale() : logical.scale();
      if (bytes.length > MOST_BYTES || scale < 0 || scale > LONGEST_DECIMAL) {
        return tooLong;
      }
      written = new BigDecimal(new BigInteger(bytes), scale);
    } else if (value instanceof String text && DECIMAL.matcher(text).matches()) {
      if (text.length() > LONGEST_DECIMAL) {
        return tooLong;
      }
      written = new BigDecimal(text);
    } else {
      return new Unreadable("must be a decimal number: a text such as \"12.50\", or bytes in Avro");
    }
    BigDecimal exact;
    try {
      exact = written.setScale(field.scale());
    } catch (ArithmeticException rounds) {
      return new Unreadable("must have at most " + field.scale() + " decimal places");
    }
    if (exact.precision() > field.precision()) {
      return tooLong;
    }
    String text = exact.toPlainString();
    if (field.type().element() == ColumnType.DOUBLE) {
      return Double.valueOf(text);
    }
    return text;
  }
}
