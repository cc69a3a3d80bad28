package penstock.kernel.window;

/** An aggregate that keeps one object and no numbers; there is none while there is no value. */
abstract class ObjectAggregate<T> extends Aggregate {
  ObjectAggregate(int number, int object) {
    super(number, object);
  }

  /** What is kept of a single value. */
  abstract T newObject(Object value, long time);

  /** The object with one value more: the same one, changed, only if {@link #copyObject} copies. */
  abstract T addToObject(T stored, Object value, long time);

  /** What is kept of both; neither is changed. */
  abstract T mergeObjects(T older, T newer);

  /** What a row holds, null if there was no value. */
  @SuppressWarnings("unchecked")
  final T stored(AccumulatorRows rows, int row) {
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
  final void add(AccumulatorRows rows, int row, Object value, long time) {
    T stored = stored(rows, row);
    rows.object(
        row, object, stored == null ? newObject(value, time) : addToObject(stored, value, time));
  }

  @Override
  final void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    T right = stored(newer, newerRow);
    if (right != null) {
      T left = stored(older, row);
      older.object(row, object, left == null ? right : mergeObjects(left, right));
    }
  }
}
