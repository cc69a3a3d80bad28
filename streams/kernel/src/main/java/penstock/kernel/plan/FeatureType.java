package penstock.kernel.plan;

import com.fasterxml.jackson.annotation.JsonCreator;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * The type of a column or a feature: a simple type, or a list of it. In memory, a list is a {@link List}
 * without nulls; both may be null.
 */
public record FeatureType(ColumnType element, boolean isList) {
  private static final String LIST = "[]";

  /** The type by its name in the plan, such as {@code "string"} or {@code "string[]"}. */
  @JsonCreator(mode = JsonCreator.Mode.DELEGATING)
  public static FeatureType of(String name) {
    boolean isList = name.endsWith(LIST);
    String element = isList ? name.substring(0, name.length() - LIST.length()) : name;
    return new FeatureType(ColumnType.of(element), isList);
  }

  /** The type of single values. */
  public static FeatureType of(ColumnType type) {
    return new FeatureType(type, false);
  }

  /** Writes a value of this type, which may be null. */
  public void write(Object value, DataOutputView out) throws IOException {
    if (!isList) {
      element.write(value, out);
      return;
    }
    List<?> values = (List<?>) value;
    Binary.writeSize(values == null ? -1 : values.size(), out);
    if (values != null) {
      for (Object each : values) {
        element.write(each, out);
      }
    }
  }

  /** Reads what {@link #write} wrote. */
  public Object read(DataInputView in) throws IOException {
    if (!isList) {
      return element.read(in);
    }
    int size = Binary.readSize(in);
    if (size < 0) {
      return null;
    }
    List<Object> values = new ArrayList<>(size);
    for (int i = 0; i < size; i++) {
      values.add(element.read(in));
    }
    return values;
  }
}
