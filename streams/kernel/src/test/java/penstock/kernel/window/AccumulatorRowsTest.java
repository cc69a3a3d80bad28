package penstock.kernel.window;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.util.Random;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.api.Test;

/** The numbers of a row in snapshots. */
class AccumulatorRowsTest {
  private static final long[] NUMBERS = {
    0, 1, 127, 128, 255, 256, -1, -8, -127, -128, Long.MIN_VALUE, Long.MAX_VALUE
  };

  private static AccumulatorRows rows(long... numbers) {
    AccumulatorRows rows = new AccumulatorRows(numbers.length, 0, 2);
    for (int i = 0; i < numbers.length; i++) {
      rows.number(1, i, numbers[i]);
    }
    return rows;
  }

  private static byte[] bytes(AccumulatorRows rows) throws IOException {
    DataOutputSerializer out = new DataOutputSerializer(16);
    rows.writeNumbers(1, out);
    return out.getCopyOfBuffer();
  }

  @Test
  void everyRowIsReadAsItWasWritten() throws IOException {
    Random random = new Random(1);
    for (int round = 0; round < 2_000; round++) {
      long[] numbers = new long[random.nextInt(30)];
      for (int i = 0; i < numbers.length; i++) {
        numbers[i] =
            switch (random.nextInt(3)) {
              case 0 -> NUMBERS[random.nextInt(NUMBERS.length)];
              case 1 -> Double.doubleToRawLongBits(random.nextGaussian());
              default -> i == 0 ? 5 : numbers[random.nextInt(i)];
            };
      }
      AccumulatorRows read = new AccumulatorRows(numbers.length, 0, 2);
      DataInputDeserializer in = new DataInputDeserializer(bytes(rows(numbers)));
      read.readNumbers(1, in);
      assertEquals(0, in.available());
      for (int i = 0; i < numbers.length; i++) {
        assertEquals(numbers[i], read.number(1, i));
      }
    }
  }

  @Test
  void aRowOfOneValueCostsLittleMoreThanTheValue() throws IOException {
    long value = Double.doubleToRawLongBits(123.45);
    assertEquals(9 + 5, bytes(rows(1, value, 0, 1, value, value)).length);
  }
}
