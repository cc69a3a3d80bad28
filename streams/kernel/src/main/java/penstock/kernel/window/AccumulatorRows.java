package penstock.kernel.window;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * A growing table of accumulators. Each row has {@code numbersPerRow} longs (doubles by their bits)
 * and {@code objectsPerRow} references, which the aggregates of a window divide among themselves.
 */
final class AccumulatorRows {
  /** In writing, a number up to this is a byte of its own. */
  private static final int SMALL = Byte.MAX_VALUE;

  /** A negative byte says how far before it in the row a number is found again, at most this. */
  private static final int FARTHEST = 8;

  /** Eight bytes follow. */
  private static final byte IN_FULL = Byte.MIN_VALUE;

  final int numbersPerRow;
  final int objectsPerRow;
  private long[] numbers;
  private Object[] objects;

  AccumulatorRows(int numbersPerRow, int objectsPerRow, int rows) {
    this.numbersPerRow = numbersPerRow;
    this.objectsPerRow = objectsPerRow;
    this.numbers = new long[numbersPerRow * rows];
    this.objects = new Object[objectsPerRow * rows];
  }

  long number(int row, int column) {
    return numbers[row * numbersPerRow + column];
  }

  void number(int row, int column, long value) {
    numbers[row * numbersPerRow + column] = value;
  }

  double real(int row, int column) {
    return Double.longBitsToDouble(number(row, column));
  }

  void real(int row, int column, double value) {
    number(row, column, Double.doubleToRawLongBits(value));
  }

  Object object(int row, int column) {
    return objects[row * objectsPerRow + column];
  }

  void object(int row, int column, Object value) {
    objects[row * objectsPerRow + column] = value;
  }

  /** Copies a row. Both rows share its objects. */
  void copyRow(int row, AccumulatorRows from, int fromRow) {
    copyRows(row, from, fromRow, 1);
  }

  /** Copies consecutive rows. Both tables share their objects. */
  void copyRows(int row, AccumulatorRows from, int fromRow, int count) {
    System.arraycopy(
        from.numbers, fromRow * numbersPerRow, numbers, row * numbersPerRow, count * numbersPerRow);
    if (objectsPerRow > 0) {
      System.arraycopy(
          from.objects,
          fromRow * objectsPerRow,
          objects,
          row * objectsPerRow,
          count * objectsPerRow);
    }
  }

  /** Copies one aggregate's cells of a row. Both rows share its objects. */
  void copyCells(Aggregate aggregate, int row, AccumulatorRows from, int fromRow) {
    for (int i = aggregate.number; i < aggregate.number + aggregate.numbers(); i++) {
      number(row, i, from.number(fromRow, i));
    }
    for (int i = aggregate.object; i < aggregate.object + aggregate.objects(); i++) {
      object(row, i, from.object(fromRow, i));
    }
  }

  /** Sets the objects of rows to null. Numbers are cleared when a row is used again. */
  void releaseObjects(int row, int count) {
    if (objectsPerRow > 0) {
      Arrays.fill(objects, row * objectsPerRow, (row + count) * objectsPerRow, null);
    }
  }

  void clearRow(int row) {
    Arrays.fill(numbers, row * numbersPerRow, (row + 1) * numbersPerRow, 0);
    releaseObjects(row, 1);
  }

  /**
   * Writes the numbers of a row. Most are small, or equal to one before them: a tile of one event
   * has its value as sum, mean, least and greatest.
   */
  void writeNumbers(int row, DataOutputView out) throws IOException {
    int first = row * numbersPerRow;
    for (int i = first; i < first + numbersPerRow; i++) {
      long number = numbers[i];
      int back = 0;
      if (number < 0 || number > SMALL) {
        back = 1;
        while (back <= Math.min(i - first, FARTHEST) && numbers[i - back] != number) {
          back++;
        }
      }
      if (back == 0) {
        out.writeByte((int) number);
      } else if (back <= Math.min(i - first, FARTHEST)) {
        out.writeByte(-back);
      } else {
        out.writeByte(IN_FULL);
        out.writeLong(number);
      }
    }
  }

  /** Reads what {@link #writeNumbers} wrote. */
  void readNumbers(int row, DataInputView in) throws IOException {
    int first = row * numbersPerRow;
    for (int i = first; i < first + numbersPerRow; i++) {
      byte form = in.readByte();
      numbers[i] = form >= 0 ? form : form == IN_FULL ? in.readLong() : numbers[i + form];
    }
  }

  /** Moves rows to the start and releases the objects of the rows that become free. */
  void moveToStart(int from, int count) {
    copyRows(0, this, from, count);
    releaseObjects(count, from);
  }

  void resize(int rows) {
    numbers = Arrays.copyOf(numbers, rows * numbersPerRow);
    objects = Arrays.copyOf(objects, rows * objectsPerRow);
  }
}
