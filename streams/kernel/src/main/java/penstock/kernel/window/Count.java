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
  final boolean canReadFrom(Aggregate other) {
    return other.startsWithCount();
  }

  @Override
  final boolean startsWithCount() {
    return true;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    rows.number(row, number, rows.number(row, number) + 1);
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    older.number(row, number, older.number(row, number) + newer.number(newerRow, number));
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    return rows.number(row, number);
  }
}
