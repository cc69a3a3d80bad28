package penstock.kernel.window;

/** Number of values. */
class Count extends Aggregate {
  Count(int number, int object) {
    super(number, object);
  }

  @Override
  int numbers() {
    return 1;
  }

  @Override
  final boolean isServedBy(Aggregate other) {
    return other.countsFirst();
  }

  @Override
  final boolean countsFirst() {
    return true;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    rows.number(row, number, rows.number(row, number) + 1);
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    older.number(row, number, older.number(row, number) + newer.number(newerRow, number));
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    return rows.number(row, number);
  }
}
