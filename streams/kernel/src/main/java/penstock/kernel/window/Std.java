package penstock.kernel.window;

/** Sample standard deviation. */
final class Std extends SecondMoment {
  Std(int number, int object) {
    super(number, object);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    double deviation = deviation(rows, row);
    return Double.isNaN(deviation) ? null : (Object) deviation;
  }
}
