package penstock.kernel.window;

/** Sample standard deviation. */
final class Std extends Deviation {
  Std(int number, int object) {
    super(number, object);
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    double variance = variance(rows, row);
    return Double.isNaN(variance) ? null : (Object) Math.sqrt(variance);
  }
}
