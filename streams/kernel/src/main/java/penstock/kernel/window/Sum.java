package penstock.kernel.window;

/**
 * Sum in double-double arithmetic: Knuth's two-sum keeps each rounding error, so small values
 * survive when large ones cancel out.
 */
class Sum extends Aggregate {
  final int count;
  private final int high;
  private final int low;

  Sum(int number, int object) {
    super(number, object);
    this.count = number;
    this.high = number + 1;
    this.low = number + 2;
  }

  @Override
  int numbers() {
    return 3;
  }

  @Override
  final boolean canReadFrom(Aggregate other) {
    return other instanceof Sum;
  }

  @Override
  final boolean startsWithCount() {
    return true;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    add(rows, row, ((Number) value).doubleValue(), 0, 1);
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    add(
        older,
        row,
        newer.real(newerRow, high),
        newer.real(newerRow, low),
        newer.number(newerRow, count));
  }

  private void add(AccumulatorRows rows, int row, double addHigh, double addLow, long addCount) {
    double before = rows.real(row, high);
    double sum = before + addHigh;
    double virtual = sum - before;
    double error = (before - (sum - virtual)) + (addHigh - virtual);
    rows.real(row, high, sum);
    rows.real(row, low, rows.real(row, low) + addLow + error);
    rows.number(row, count, rows.number(row, count) + addCount);
  }

  final double total(AccumulatorRows rows, int row) {
    double sum = rows.real(row, high);
    // An infinite sum has no error term (infinity - infinity).
    return Double.isFinite(sum) ? sum + rows.real(row, low) : sum;
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    return rows.number(row, count) == 0 ? null : (Object) total(rows, row);
  }
}
