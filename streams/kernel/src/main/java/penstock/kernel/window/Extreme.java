package penstock.kernel.window;

/** Smallest or largest value, by its bits; those of NaN, which no value is, are turned to zero. */
final class Extreme extends Aggregate {
  private static final long NONE = Double.doubleToRawLongBits(Double.NaN);

  private final boolean smallest;

  Extreme(int number, int object, boolean smallest) {
    super(number, object);
    this.smallest = smallest;
  }

  @Override
  int numbers() {
    return 1;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    take(rows, row, ((Number) value).doubleValue());
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    if (newer.number(newerRow, number) != 0) {
      take(older, row, held(newer, newerRow));
    }
  }

  private void take(Rows rows, int row, double value) {
    double kept = value;
    if (rows.number(row, number) != 0) {
      double held = held(rows, row);
      kept = smallest ? Math.min(held, value) : Math.max(held, value);
    }
    rows.number(row, number, Double.doubleToRawLongBits(kept) ^ NONE);
  }

  private double held(Rows rows, int row) {
    return Double.longBitsToDouble(rows.number(row, number) ^ NONE);
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    return rows.number(row, number) == 0 ? null : (Object) held(rows, row);
  }
}
