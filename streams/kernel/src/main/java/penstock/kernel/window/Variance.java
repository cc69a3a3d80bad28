package penstock.kernel.window;

/** Sample variance. */
final class Variance extends SecondMoment {
  Variance(int number, int object) {
    super(number, object);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    double variance = variance(rows, row);
    return Double.isNaN(variance) ? null : (Object) variance;
  }
}
