package penstock.kernel.window;

/**
 * Mean and sum of squared deviations, by Welford's update and the merge of Chan, Golub and LeVeque
 * (1983), which avoid differences of large sums.
 *
 * <p>A sum of squares too small or too great for a double with full precision is kept as its root,
 * with a minus. So deviations from 1e-290 to 1e290 are as exact as others, and the state is no
 * larger.
 */
abstract class SecondMoment extends Aggregate {
  private static final double MIN_DEVIATION = 1e-75;

  /** Between these, a sum of squares is kept as such. */
  private static final double MIN_SQUARES = 1e-280;

  private static final double MAX_SQUARES = 1e300;

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
    double difference = x - before;
    double after = before + difference / n;
    double stored = rows.real(row, squares);
    double sum = stored + difference * (x - after);
    rows.number(row, number, n);
    rows.real(row, mean, after);
    rows.real(
        row,
        squares,
        stored >= 0 && isKeptAsSuch(sum) || difference == 0 || n == 1
            ? sum
            : plus(stored, 0, difference, (n - 1.0) / n));
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
    double leftSquares = older.real(row, squares);
    double rightSquares = newer.real(newerRow, squares);
    double weight = (double) left * right / n;
    double sum = leftSquares + rightSquares + difference * difference * weight;
    boolean isPlain =
        leftSquares >= 0 && rightSquares >= 0 && (isKeptAsSuch(sum) || sum == 0 && difference == 0);
    older.number(row, number, n);
    older.real(row, mean, older.real(row, mean) + difference * right / n);
    older.real(row, squares, isPlain ? sum : plus(leftSquares, rightSquares, difference, weight));
  }

  private static boolean isKeptAsSuch(double sum) {
    return sum >= MIN_SQUARES && sum <= MAX_SQUARES;
  }

  /** Two stored sums of squares and {@code weight} times the square of a difference. */
  private static double plus(double left, double right, double difference, double weight) {
    // StrictMath gives the same bits on every machine.
    double both = StrictMath.hypot(root(left), root(right));
    double root = StrictMath.hypot(both, Math.sqrt(weight) * difference);
    double sum = root * root;
    return isKeptAsSuch(sum) || root == 0 ? sum : -root;
  }

  private static double root(double stored) {
    return stored < 0 ? -stored : Math.sqrt(stored);
  }

  /** The sample variance; NaN for fewer than two values. */
  final double variance(AccumulatorRows rows, int row) {
    long n = rows.number(row, number);
    double stored = rows.real(row, squares);
    double deviation = deviation(rows, row);
    return n > 1 && stored >= 0 ? stored / (n - 1) : deviation * deviation;
  }

  /** The sample standard deviation; NaN for fewer than two values. */
  final double deviation(AccumulatorRows rows, int row) {
    long n = rows.number(row, number);
    double stored = rows.real(row, squares);
    if (n < 2) {
      return Double.NaN;
    }
    return stored >= 0 ? Math.sqrt(stored / (n - 1)) : -stored / Math.sqrt(n - 1);
  }

  final double mean(AccumulatorRows rows, int row) {
    return rows.real(row, mean);
  }

  /**
   * Whether a deviation is more than the rounding error of its mean, so that it can be a divisor,
   * and its fourth power does not underflow.
   */
  static boolean isSignificant(double deviation, double mean) {
    return deviation > 1e-9 * Math.abs(mean)
        && deviation > MIN_DEVIATION
        && deviation < Double.POSITIVE_INFINITY;
  }
}
