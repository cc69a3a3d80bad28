package penstock.kernel.window;

/** How many sample deviations the arriving value is from the mean. */
final class ZScore extends Deviation {
  ZScore(int number, int object) {
    super(number, object);
  }

  @Override
  boolean isAboutTheEvent() {
    return true;
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    double deviation = Math.sqrt(variance(rows, row));
    double mean = mean(rows, row);
    if (arrival.value == null || !isSpread(deviation, mean)) {
      return null;
    }
    return (((Number) arrival.value).doubleValue() - mean) / deviation;
  }
}
