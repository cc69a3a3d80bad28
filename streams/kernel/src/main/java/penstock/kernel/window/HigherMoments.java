package penstock.kernel.window;

/**
 * Sums of the second, third and fourth powers of deviations from the mean, with the update formulas
 * of Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
 * statistical moments" (2008).
 */
abstract class HigherMoments extends Aggregate {
  /** Up to this deviation, the fourth powers of a billion values do not overflow. */
  private static final double MAX_DEVIATION = 1e70;

  private final int mean;
  private final int second;
  private final int third;
  private final int fourth;

  HigherMoments(int number, int object) {
    super(number, object);
    this.mean = number + 1;
    this.second = number + 2;
    this.third = number + 3;
    this.fourth = number + 4;
  }

  @Override
  final int numbers() {
    return 5;
  }

  @Override
  final boolean canReadFrom(Aggregate other) {
    return other instanceof HigherMoments;
  }

  @Override
  final boolean startsWithCount() {
    return true;
  }

  @Override
  final void add(AccumulatorRows rows, int row, Object value, long time) {
    add(rows, row, 1, ((Number) value).doubleValue(), 0, 0, 0);
  }

  @Override
  final void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    if (newer.number(newerRow, number) > 0) {
      add(
          older,
          row,
          newer.number(newerRow, number),
          newer.real(newerRow, mean),
          newer.real(newerRow, second),
          newer.real(newerRow, third),
          newer.real(newerRow, fourth));
    }
  }

  private void add(
      AccumulatorRows rows, int row, long count, double mean, double m2, double m3, double m4) {
    long present = rows.number(row, number);
    if (present == 0) {
      put(rows, row, count, mean, m2, m3, m4);
      return;
    }
    double a = present;
    double b = count;
    double n = a + b;
    double d = mean - rows.real(row, this.mean);
    double own2 = rows.real(row, second);
    double own3 = rows.real(row, third);
    double step = d / n;
    double product = a * b;
    put(
        rows,
        row,
        present + count,
        rows.real(row, this.mean) + b * step,
        own2 + m2 + d * step * product,
        own3 + m3 + d * step * step * product * (a - b) + 3 * step * (a * m2 - b * own2),
        rows.real(row, fourth)
            + m4
            + d * step * step * step * product * (a * a - product + b * b)
            + 6 * step * step * (a * a * m2 + b * b * own2)
            + 4 * step * (a * m3 - b * own3));
  }

  private void put(
      AccumulatorRows rows, int row, long count, double mean, double m2, double m3, double m4) {
    rows.number(row, number, count);
    rows.real(row, this.mean, mean);
    rows.real(row, second, m2);
    rows.real(row, third, m3);
    rows.real(row, fourth, m4);
  }

  @Override
  final Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    long n = rows.number(row, number);
    double deviation = n < 2 ? 0 : Math.sqrt(rows.real(row, second) / (n - 1));
    if (n < minCount()
        || deviation > MAX_DEVIATION
        || !SecondMoment.isSignificant(deviation, rows.real(row, mean))) {
      return null;
    }
    return result(n, deviation, rows.real(row, third), rows.real(row, fourth));
  }

  /** The least number of values for a result. */
  abstract int minCount();

  /** The result for {@code n} values with that sample deviation and these sums of powers. */
  abstract double result(double n, double deviation, double third, double fourth);
}
