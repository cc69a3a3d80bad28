package penstock.kernel.plan;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Binary form of strings and byte arrays, in state and between operators. */
public final class Binary {
  private Binary() {}

  /** Writes a string, which must not be null. */
  public static void writeString(String text, DataOutputView out) throws IOException {
    writeBytes(text.getBytes(StandardCharsets.UTF_8), out);
  }

  /** Reads what {@link #writeString} wrote. */
  public static String readString(DataInputView in) throws IOException {
    return new String(readBytes(in), StandardCharsets.UTF_8);
  }

  /** Writes a byte array, which may be null. */
  public static void writeBytes(byte[] bytes, DataOutputView out) throws IOException {
    if (bytes == null) {
      writeSize(-1, out);
      return;
    }
    writeSize(bytes.length, out);
    out.write(bytes);
  }

  /** Reads what {@link #writeBytes} wrote. */
  public static byte[] readBytes(DataInputView in) throws IOException {
    int size = readSize(in);
    if (size < 0) {
      return null;
    }
    byte[] bytes = new byte[size];
    in.readFully(bytes);
    return bytes;
  }

  /** Writes a size of -1 or more, in one byte if it is small. */
  public static void writeSize(int size, DataOutputView out) throws IOException {
    int rest = size + 1;
    while ((rest & ~0x7F) != 0) {
      out.writeByte(rest & 0x7F | 0x80);
      rest >>>= 7;
    }
    out.writeByte(rest);
  }

  /** Reads what {@link #writeSize} wrote. */
  public static int readSize(DataInputView in) throws IOException {
    int size = 0;
    for (int shift = 0; ; shift += 7) {
      byte part = in.readByte();
      size |= (part & 0x7F) << shift;
      if (part >= 0) {
        return size - 1;
      }
    }
  }
}
