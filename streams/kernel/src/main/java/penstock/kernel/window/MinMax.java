package penstock.kernel.window;

/**
 * Minimum or maximum. Its bits are stored such that zero, the empty accumulator, means NaN, which
 * is never a value.
 */
final class MinMax extends Aggregate {
  private static final long NONE = Double.doubleToRawLongBits(Double.NaN);

  private final boolean smallest;

  MinMax(int number, int object, boolean smallest) {
    super(number, object);
    this.smallest = smallest;
  }

  @Override
  int numbers() {
    return 1;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    take(rows, row, ((Number) value).doubleValue());
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    if (newer.number(newerRow, number) != 0) {
      take(older, row, stored(newer, newerRow));
    }
  }

  private void take(AccumulatorRows rows, int row, double value) {
    double kept = value;
    if (rows.number(row, number) != 0) {
      double stored = stored(rows, row);
      kept = smallest ? Math.min(stored, value) : Math.max(stored, value);
    }
    rows.number(row, number, Double.doubleToRawLongBits(kept) ^ NONE);
  }

  private double stored(AccumulatorRows rows, int row) {
    return Double.longBitsToDouble(rows.number(row, number) ^ NONE);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    return rows.number(row, number) == 0 ? null : (Object) stored(rows, row);
  }
}
