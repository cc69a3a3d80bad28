package penstock.kernel.window;

/** An aggregate with one object and no numbers. The object is null while there is no value. */
abstract class ObjectAggregate<T> extends Aggregate {
  ObjectAggregate(int number, int object) {
    super(number, object);
  }

  /** The object for a single value. */
  abstract T newObject(Object value, long time);

  /** Adds a value. Only if {@link #copyObject} makes copies may it change {@code stored}. */
  abstract T addToObject(T stored, Object value, long time);

  /** Merges two objects and changes neither. */
  abstract T mergeObjects(T older, T newer);

  /** The object in a row; null if there was no value. */
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
