package penstock.kernel.window;

/** Seconds from the latest event to {@code as_of}. */
final class TimeSinceLast extends Aggregate {
  TimeSinceLast(int number, int object) {
    super(number, object);
  }

  @Override
  int numbers() {
    return 2;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    if (rows.number(row, number + 1) == 0 || time > rows.number(row, number)) {
      rows.number(row, number, time);
      rows.number(row, number + 1, 1);
    }
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    if (newer.number(newerRow, number + 1) != 0) {
      add(older, row, null, newer.number(newerRow, number));
    }
  }

  @Override
  Object result(Rows rows, int row, long asOf) {
    return rows.number(row, number + 1) == 0
        ? null
        : (Object) ((asOf - rows.number(row, number)) / 1000.0);
  }
}
