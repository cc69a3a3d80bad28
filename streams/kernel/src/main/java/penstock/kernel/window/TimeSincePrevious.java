package penstock.kernel.window;

/** Seconds from the latest event before the current one to {@code as_of}. */
final class TimeSincePrevious extends TwoLatest {
  TimeSincePrevious(int number, int object) {
    super(number, object, null);
  }

  @Override
  boolean dependsOnCurrentEvent() {
    return true;
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    int previous = previous(rows, row, current);
    return previous < 0 ? null : (Object) current.secondsSince(time(rows, row, previous));
  }
}
