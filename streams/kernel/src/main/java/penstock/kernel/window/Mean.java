package penstock.kernel.window;

/** Arithmetic mean of the values. */
final class Mean extends Sum {
  Mean(int number, int object) {
    super(number, object);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    long n = rows.number(row, count);
    return n == 0 ? null : (Object) (total(rows, row) / n);
  }
}
