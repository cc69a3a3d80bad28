package penstock.kernel.window;

/** Seconds from the first or the last event to {@code as_of}. */
final class TimeSince extends Aggregate {
  private final boolean latest;

  TimeSince(int number, int object, boolean latest) {
    super(number, object);
    this.latest = latest;
  }

  @Override
  int numbers() {
    return 2;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    long stored = rows.number(row, number);
    if (rows.number(row, number + 1) == 0 || (latest ? time > stored : time < stored)) {
      rows.number(row, number, time);
      rows.number(row, number + 1, 1);
    }
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    if (newer.number(newerRow, number + 1) != 0) {
      add(older, row, null, newer.number(newerRow, number));
    }
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    return rows.number(row, number + 1) == 0
        ? null
        : (Object) current.secondsSince(rows.number(row, number));
  }
}
