package penstock.kernel.window;

/** Sample standard deviation. */
final class Std extends SecondMoment {
  Std(int number, int object) {
    super(number, object);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    double variance = variance(rows, row);
    return Double.isNaN(variance) ? null : (Object) Math.sqrt(variance);
  }
}
