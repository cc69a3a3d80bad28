package penstock.kernel.window;

/** How many sample deviations the current value is from the mean. */
final class ZScore extends SecondMoment {
  ZScore(int number, int object) {
    super(number, object);
  }

  @Override
  boolean dependsOnCurrentEvent() {
    return true;
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    double deviation = deviation(rows, row);
    double mean = mean(rows, row);
    if (current.value == null || !isSignificant(deviation, mean)) {
      return null;
    }
    return (((Number) current.value).doubleValue() - mean) / deviation;
  }
}
