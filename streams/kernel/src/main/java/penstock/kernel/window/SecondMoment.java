package penstock.kernel.window;

/**
 * Mean and sum of squared deviations, by Welford's update and the merge of Chan, Golub and LeVeque
 * (1983), which avoid differences of large sums.
 */
abstract class SecondMoment extends Aggregate {
  private static final double MIN_DEVIATION = 1e-75;

  private final int mean;
  private final int squares;

  SecondMoment(int number, int object) {
    super(number, object);
    this.mean = number + 1;
    this.squares = number + 2;
  }

  @Override
  int numbers() {
    return 3;
  }

  @Override
  final boolean canReadFrom(Aggregate other) {
    return other instanceof SecondMoment;
  }

  @Override
  final boolean startsWithCount() {
    return true;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    long n = rows.number(row, number) + 1;
    double before = rows.real(row, mean);
    double x = ((Number) value).doubleValue();
    double after = before + (x - before) / n;
    rows.number(row, number, n);
    rows.real(row, mean, after);
    rows.real(row, squares, rows.real(row, squares) + (x - before) * (x - after));
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    long right = newer.number(newerRow, number);
    if (right == 0) {
      return;
    }
    long left = older.number(row, number);
    if (left == 0) {
      older.number(row, number, right);
      older.real(row, mean, newer.real(newerRow, mean));
      older.real(row, squares, newer.real(newerRow, squares));
      return;
    }
    long n = left + right;
    double difference = newer.real(newerRow, mean) - older.real(row, mean);
    double squared =
        older.real(row, squares)
            + newer.real(newerRow, squares)
            + difference * difference * ((double) left * right / n);
    older.number(row, number, n);
    older.real(row, mean, older.real(row, mean) + difference * right / n);
    older.real(row, squares, squared);
  }

  /** The sample variance; NaN for fewer than two values. */
  final double variance(AccumulatorRows rows, int row) {
    long n = rows.number(row, number);
    return n < 2 ? Double.NaN : rows.real(row, squares) / (n - 1);
  }

  final double mean(AccumulatorRows rows, int row) {
    return rows.real(row, mean);
  }

  /**
   * Whether a deviation is more than the rounding error of its mean, so that it can be a divisor,
   * and its fourth power neither underflows nor overflows.
   */
  static boolean isSignificant(double deviation, double mean) {
    return deviation > 1e-9 * Math.abs(mean)
        && deviation > MIN_DEVIATION
        && deviation < Double.POSITIVE_INFINITY;
  }
}
