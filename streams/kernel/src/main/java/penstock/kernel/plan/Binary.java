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
    writePositive(size + 1L, out);
  }

  /** Reads what {@link #writeSize} wrote. */
  public static int readSize(DataInputView in) throws IOException {
    return (int) (readPositive(in) - 1);
  }

  /** Writes a number, in one byte if it is small and not negative. */
  public static void writePositive(long number, DataOutputView out) throws IOException {
    long rest = number;
    while ((rest & ~0x7FL) != 0) {
      out.writeByte((int) (rest & 0x7F | 0x80));
      rest >>>= 7;
    }
    out.writeByte((int) rest);
  }

  /** Reads what {@link #writePositive} wrote. */
  public static long readPositive(DataInputView in) throws IOException {
    long number = 0;
    for (int shift = 0; ; shift += 7) {
      byte part = in.readByte();
      number |= (part & 0x7FL) << shift;
      if (part >= 0) {
        return number;
      }
    }
  }
}
