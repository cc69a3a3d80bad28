package penstock.kernel.window;

import penstock.kernel.plan.ColumnType;

/** Whether the current value differs from the latest one before it. */
final class Changed extends TwoLatest {
  Changed(int number, int object, ColumnType type) {
    super(number, object, type);
  }

  @Override
  boolean dependsOnCurrentEvent() {
    return true;
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    int previous = previous(rows, row, current);
    if (previous < 0 || current.value == null) {
      return null;
    }
    Object before = value(rows, row, previous);
    // As numbers, both zeros are equal.
    return before instanceof Double number
        ? number.doubleValue() != ((Double) current.value).doubleValue()
        : !before.equals(current.value);
  }
}
