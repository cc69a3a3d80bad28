package penstock.kernel.decode;

import com.google.re2j.Pattern;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import penstock.kernel.decode.InvalidEventException.Reason;
import penstock.kernel.plan.Plan;

/** Validates one field of a contract, by the same rules as the pydantic model in strict mode. */
final class FieldValidator {
  private final Plan.Field field;
  private final String contract;
  private final Object fallback;
  private final Pattern pattern;
  private final Set<String> values;

  FieldValidator(Plan.Field field, String contract) {
    this.field = field;
    this.contract = contract;
    this.fallback = fallback(field);
    this.pattern = field.pattern() == null ? null : Pattern.compile(field.pattern());
    this.values = field.values() == null ? null : Set.copyOf(field.values());
  }

  /**
   * Returns the field's value, of the column's type.
   *
   * @param raw the decoded value; see {@link SpecialValue}
   * @throws InvalidEventException if the value breaks a rule
   */
  Object validate(Object raw) throws InvalidEventException {
    if (raw == null) {
      if (field.required()) {
        throw invalid("the field is required");
      }
      return fallback;
    }
    if (raw == SpecialValue.NO_OBJECT && !field.required()) {
      return fallback;
    }
    if (raw instanceof SpecialValue.Unreadable unreadable) {
      throw invalid(unreadable.problem());
    }
    if (raw == SpecialValue.NULL || raw == SpecialValue.NO_OBJECT) {
      if (!field.nullable()) {
        throw invalid("must not be null");
      }
      return null;
    }
    return field.type().isList() ? list(raw) : value(raw);
  }

  /** The elements' values, without those that are null if elements may be. */
  private List<Object> list(Object raw) throws InvalidEventException {
    if (!(raw instanceof List<?> elements)) {
      throw invalid("must be an array");
    }
    if (elements.size() > field.maxElements()) {
      throw invalid("must have at most " + field.maxElements() + " elements");
    }
    List<Object> values = new ArrayList<>(elements.size());
    for (Object element : elements) {
      if (element instanceof SpecialValue.Unreadable unreadable) {
        throw invalid(unreadable.problem());
      }
      boolean isNull =
          element == null || element == SpecialValue.NULL || element == SpecialValue.NO_OBJECT;
      if (!isNull) {
        values.add(value(element));
      } else if (!field.nullableElements()) {
        throw invalid("must have a value in every element");
      }
    }
    return values;
  }

  private Object value(Object raw) throws InvalidEventException {
    return switch (field.type().element()) {
      case STRING -> text(raw);
      case LONG -> integer(raw);
      case DOUBLE -> number(raw);
      case BOOLEAN -> {
        if (raw instanceof Boolean) {
          yield raw;
        }
        throw invalid("must be a boolean");
      }
    };
  }

  private String text(Object raw) throws InvalidEventException {
    if (!(raw instanceof String text)) {
      throw invalid("must be a string");
    }
    if (hasUnpairedSurrogate(text)) {
      throw invalid("must be Unicode text, without unpaired surrogates");
    }
    if (values != null && !values.contains(text)) {
      throw invalid("must be one of the contract's values");
    }
    if (field.minLength() != null || field.maxLength() != null) {
      int length = text.codePointCount(0, text.length());
      if (field.minLength() != null && length < field.minLength()) {
        throw invalid("must have at least " + field.minLength() + " characters");
      }
      if (field.maxLength() != null && length > field.maxLength()) {
        throw invalid("must have at most " + field.maxLength() + " characters");
      }
    }
    if (pattern != null && !pattern.matcher(text).find()) {
      throw invalid("must match the contract's pattern");
    }
    return text;
  }

  private Long integer(Object raw) throws InvalidEventException {
    if (!(raw instanceof Long number)) {
      throw invalid(
          raw instanceof SpecialValue.HugeInteger ? "must fit 64 bits" : "must be an integer");
    }
    if (field.minimum() != null || field.maximum() != null) {
      BigDecimal exact = BigDecimal.valueOf(number);
      checkBounds(
          field.minimum() == null ? 1 : exact.compareTo(field.minimum()),
          field.maximum() == null ? -1 : exact.compareTo(field.maximum()));
    }
    return number;
  }

  private Double number(Object raw) throws InvalidEventException {
    double number;
    if (raw instanceof Double real) {
      number = real;
    } else if (raw instanceof Long integer) {
      number = integer.doubleValue();
    } else if (raw instanceof SpecialValue.HugeInteger huge) {
      number = huge.value();
    } else {
      throw invalid("must be a number");
    }
    if (!Double.isFinite(number)) {
      throw invalid("must be a finite number");
    }
    checkBounds(
        field.minimum() == null ? 1 : order(number, field.minimum().doubleValue()),
        field.maximum() == null ? -1 : order(number, field.maximum().doubleValue()));
    return number;
  }

  /** Unlike {@link Double#compare}, both zeros are equal. */
  private static int order(double one, double other) {
    return one < other ? -1 : one > other ? 1 : 0;
  }

  /** Checks a number by the sign of its comparison with the minimum and with the maximum. */
  private void checkBounds(int toMinimum, int toMaximum) throws InvalidEventException {
    if (toMinimum < 0 || field.minimumExclusive() && toMinimum == 0) {
      String relation = field.minimumExclusive() ? "greater than " : "at least ";
      throw invalid("must be " + relation + field.minimum());
    }
    if (toMaximum > 0 || field.maximumExclusive() && toMaximum == 0) {
      String relation = field.maximumExclusive() ? "less than " : "at most ";
      throw invalid("must be " + relation + field.maximum());
    }
  }

  private InvalidEventException invalid(String rule) {
    return new InvalidEventException(
        Reason.INVALID_FIELD, field.path() + ": " + rule + " (contract " + contract + ")");
  }

  private static boolean hasUnpairedSurrogate(String text) {
    for (int i = 0; i < text.length(); i++) {
      if (Character.isSurrogate(text.charAt(i))) {
        if (!Character.isSupplementaryCodePoint(text.codePointAt(i))) {
          return true;
        }
        i++;
      }
    }
    return false;
  }

  private static Object fallback(Plan.Field field) {
    if (field.fallback() == null || field.fallback().isNull()) {
      return null;
    }
    return switch (field.type().element()) {
      case STRING -> field.fallback().textValue();
      case LONG -> field.fallback().longValue();
      case DOUBLE -> field.fallback().doubleValue();
      case BOOLEAN -> field.fallback().booleanValue();
    };
  }
}
