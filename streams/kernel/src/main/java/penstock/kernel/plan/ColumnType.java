package penstock.kernel.plan;

import com.fasterxml.jackson.annotation.JsonCreator;
import java.io.IOException;
import java.util.Locale;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * The types of a column. In memory: {@link String}, {@link Long}, {@link Double}, {@link Boolean};
 * all may be null.
 */
public enum ColumnType {
  STRING,
  LONG,
  DOUBLE,
  BOOLEAN;

  /** The type by its name in the plan, such as {@code "string"}. */
  @JsonCreator
  public static ColumnType of(String name) {
    return valueOf(name.toUpperCase(Locale.ROOT));
  }

  /** Writes a value of this type, which may be null. */
  public void write(Object value, DataOutputView out) throws IOException {
    if (value == null) {
      out.writeByte(0);
      return;
    }
    switch (this) {
      case STRING -> {
        out.writeByte(1);
        Binary.writeString((String) value, out);
      }
      case LONG -> {
        out.writeByte(1);
        out.writeLong((Long) value);
      }
      case DOUBLE -> {
        out.writeByte(1);
        out.writeDouble((Double) value);
      }
      case BOOLEAN -> out.writeByte((Boolean) value ? 2 : 1);
    }
  }

  /** Reads what {@link #write} wrote. */
  public Object read(DataInputView in) throws IOException {
    byte mark = in.readByte();
    if (mark == 0) {
      return null;
    }
    return switch (this) {
      case STRING -> Binary.readString(in);
      case LONG -> in.readLong();
      case DOUBLE -> in.readDouble();
      case BOOLEAN -> mark == 2;
    };
  }
}
