package penstock.kernel.window;

import java.util.Arrays;

/**
 * A growing table of partial aggregates: each row holds {@code numbers} longs (doubles by their
 * bits) and {@code objects} references, which the aggregates of a window share out among
 * themselves.
 */
final class AccumulatorRows {
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

  /** Copies a row; the objects in it are then shared by both. */
  void copyRow(int row, AccumulatorRows from, int fromRow) {
    System.arraycopy(
        from.numbers, fromRow * numbersPerRow, numbers, row * numbersPerRow, numbersPerRow);
    if (objectsPerRow > 0) {
      System.arraycopy(
          from.objects, fromRow * objectsPerRow, objects, row * objectsPerRow, objectsPerRow);
    }
  }

  /** Copies rows to the beginning of this table; the objects in them are then shared by both. */
  void copyRows(AccumulatorRows from, int fromRow, int count) {
    System.arraycopy(from.numbers, fromRow * numbersPerRow, numbers, 0, count * numbersPerRow);
    System.arraycopy(from.objects, fromRow * objectsPerRow, objects, 0, count * objectsPerRow);
  }

  /** Copies one aggregate's part of a row; an object in it is then shared by both. */
  void copyCells(Aggregate aggregate, int row, AccumulatorRows from, int fromRow) {
    for (int i = aggregate.number; i < aggregate.number + aggregate.numbers(); i++) {
      number(row, i, from.number(fromRow, i));
    }
    for (int i = aggregate.object; i < aggregate.object + aggregate.objects(); i++) {
      object(row, i, from.object(fromRow, i));
    }
  }

  /** Lets go of a row's objects; its numbers are cleared when the row is used again. */
  void release(int row) {
    if (objectsPerRow > 0) {
      Arrays.fill(objects, row * objectsPerRow, (row + 1) * objectsPerRow, null);
    }
  }

  void clearRow(int row) {
    Arrays.fill(numbers, row * numbersPerRow, (row + 1) * numbersPerRow, 0);
    Arrays.fill(objects, row * objectsPerRow, (row + 1) * objectsPerRow, null);
  }

  /** Moves {@code count} rows; what they leave behind is not cleared. */
  void moveRows(int from, int to, int count) {
    System.arraycopy(
        numbers, from * numbersPerRow, numbers, to * numbersPerRow, count * numbersPerRow);
    System.arraycopy(
        objects, from * objectsPerRow, objects, to * objectsPerRow, count * objectsPerRow);
  }

  void resize(int rows) {
    numbers = Arrays.copyOf(numbers, rows * numbersPerRow);
    objects = Arrays.copyOf(objects, rows * objectsPerRow);
  }
}
