package penstock.kernel.window;

/** Sample variance. */
final class Variance extends Deviation {
  Variance(int number, int object) {
    super(number, object);
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    double variance = variance(rows, row);
    return Double.isNaN(variance) ? null : (Object) variance;
  }
}
