package penstock.kernel.window;

/** Seconds from the latest or the earliest event to {@code as_of}. */
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
  void add(Rows rows, int row, Object value, long time) {
    long held = rows.number(row, number);
    if (rows.number(row, number + 1) == 0 || (latest ? time > held : time < held)) {
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
  Object result(Rows rows, int row, Arrival arrival) {
    return rows.number(row, number + 1) == 0
        ? null
        : (Object) arrival.secondsSince(rows.number(row, number));
  }
}
