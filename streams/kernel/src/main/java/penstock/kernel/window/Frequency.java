package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/** How often the window has the current value. */
final class Frequency extends ObjectAggregate<Object> {
  private final ColumnType type;
  private final int bound;

  Frequency(int number, int object, ColumnType type, int bound) {
    super(number, object);
    this.type = type;
    this.bound = bound;
  }

  /**
   * The sum of two counts, computed only if needed: looking up one value does not need it. The
   * counts never change.
   */
  private static final class LazySum {
    private final ValueCounts older;
    private final ValueCounts newer;
    private ValueCounts sum;

    LazySum(ValueCounts older, ValueCounts newer) {
      this.older = older;
      this.newer = newer;
    }
  }

  @Override
  boolean canReadFrom(Aggregate other) {
    return other instanceof Frequency frequency && frequency.bound == bound;
  }

  @Override
  Object newObject(Object value, long time) {
    return ValueCounts.of(value);
  }

  @Override
  Object addToObject(Object stored, Object value, long time) {
    return counts(stored).plus(value, bound);
  }

  @Override
  Object mergeObjects(Object older, Object newer) {
    return new LazySum(counts(older), counts(newer));
  }

  private ValueCounts counts(Object stored) {
    if (stored instanceof LazySum lazy) {
      if (lazy.sum == null) {
        lazy.sum = lazy.older.merge(lazy.newer, bound);
      }
      return lazy.sum;
    }
    return (ValueCounts) stored;
  }

  @Override
  boolean dependsOnCurrentEvent() {
    return true;
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    Object stored = stored(rows, row);
    if (stored == null || current.value == null) {
      return 0L;
    }
    return stored instanceof LazySum lazy
        ? lazy.older.count(current.value) + lazy.newer.count(current.value)
        : ((ValueCounts) stored).count(current.value);
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    ((ValueCounts) value).write(type, out);
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    return ValueCounts.read(type, in);
  }
}
