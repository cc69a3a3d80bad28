package penstock.kernel.window;

/** Number of values per second of the window's size. */
final class Rate extends Count {
  private final double seconds;

  Rate(int number, int object, long windowMs) {
    super(number, object);
    this.seconds = windowMs / 1000.0;
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    return rows.number(row, number) / seconds;
  }
}
