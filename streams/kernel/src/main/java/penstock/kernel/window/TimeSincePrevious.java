package penstock.kernel.window;

/** Seconds from the latest event other than the arriving one to {@code as_of}. */
final class TimeSincePrevious extends TwoLatest {
  TimeSincePrevious(int number, int object) {
    super(number, object, null);
  }

  @Override
  boolean isAboutTheEvent() {
    return true;
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    int previous = previous(rows, row, arrival);
    return previous < 0 ? null : (Object) arrival.secondsSince(time(rows, row, previous));
  }
}
