package penstock.kernel.window;

import penstock.kernel.plan.ColumnType;

/** Whether the arriving value differs from the latest other one. */
final class Changed extends TwoLatest {
  Changed(int number, int object, ColumnType type) {
    super(number, object, type);
  }

  @Override
  boolean isAboutTheEvent() {
    return true;
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    int previous = previous(rows, row, arrival);
    if (previous < 0 || arrival.value == null) {
      return null;
    }
    Object before = value(rows, row, previous);
    // As numbers, the two zeros are one.
    return before instanceof Double number
        ? number.doubleValue() != ((Double) arrival.value).doubleValue()
        : !before.equals(arrival.value);
  }
}
