package penstock.kernel.window;

/** Smallest or largest value. */
final class Extreme extends Aggregate {
  private final boolean smallest;

  Extreme(int number, int object, boolean smallest) {
    super(number, object);
    this.smallest = smallest;
  }

  @Override
  int numbers() {
    return 2;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    take(rows, row, ((Number) value).doubleValue());
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    if (newer.number(newerRow, number + 1) != 0) {
      take(older, row, newer.real(newerRow, number));
    }
  }

  private void take(Rows rows, int row, double value) {
    if (rows.number(row, number + 1) == 0) {
      rows.number(row, number + 1, 1);
      rows.real(row, number, value);
    } else {
      double held = rows.real(row, number);
      rows.real(row, number, smallest ? Math.min(held, value) : Math.max(held, value));
    }
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    return rows.number(row, number + 1) == 0 ? null : (Object) rows.real(row, number);
  }
}
