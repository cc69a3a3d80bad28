package penstock.kernel.window;

/** An aggregate that keeps one object and no numbers; there is none while there is no value. */
abstract class ObjectAggregate<T> extends Aggregate {
  ObjectAggregate(int number, int object) {
    super(number, object);
  }

  /** What is kept of a single value. */
  abstract T of(Object value, long time);

  /** The object with one value more: the same one, changed, only if {@link #copyObject} copies. */
  abstract T with(T held, Object value, long time);

  /** What is kept of both; neither is changed. */
  abstract T both(T older, T newer);

  /** What a row holds, null if there was no value. */
  @SuppressWarnings("unchecked")
  final T held(Rows rows, int row) {
    return (T) rows.object(row, object);
  }

  @Override
  final int numbers() {
    return 0;
  }

  @Override
  final int objects() {
    return 1;
  }

  @Override
  final void add(Rows rows, int row, Object value, long time) {
    T held = held(rows, row);
    rows.object(row, object, held == null ? of(value, time) : with(held, value, time));
  }

  @Override
  final void merge(Rows older, int row, Rows newer, int newerRow) {
    T right = held(newer, newerRow);
    if (right != null) {
      T left = held(older, row);
      older.object(row, object, left == null ? right : both(left, right));
    }
  }
}
