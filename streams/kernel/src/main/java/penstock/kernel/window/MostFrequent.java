package penstock.kernel.window;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/**
 * The k most frequent values; of equally frequent ones the smaller first. The result depends only
 * on each tile's values and the order of merges, so a restored window gives the same.
 */
final class MostFrequent extends ObjectAggregate<ValueCounts> {
  /** The aggregate's spec in Python has the same number. */
  private static final int MOST_COUNTED = 256;

  private final ColumnType type;
  private final int k;

  MostFrequent(int number, int object, ColumnType type, int k) {
    super(number, object);
    this.type = type;
    this.k = k;
  }

  /** {@code k} only affects the result. */
  @Override
  boolean canReadFrom(Aggregate other) {
    return other instanceof MostFrequent;
  }

  @Override
  ValueCounts newObject(Object value, long time) {
    return ValueCounts.of(value);
  }

  @Override
  ValueCounts addToObject(ValueCounts stored, Object value, long time) {
    return stored.plus(value, MOST_COUNTED);
  }

  @Override
  ValueCounts mergeObjects(ValueCounts older, ValueCounts newer) {
    return older.merge(newer, MOST_COUNTED);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    ValueCounts stored = stored(rows, row);
    if (stored == null) {
      return null;
    }
    int[] best = new int[Math.min(k, stored.size())];
    int found = 0;
    for (int i = 0; i < stored.size(); i++) {
      int index = found;
      while (index > 0 && stored.counts()[best[index - 1]] < stored.counts()[i]) {
        index--;
      }
      if (index < best.length) {
        found = Math.min(found + 1, best.length);
        System.arraycopy(best, index, best, index + 1, found - index - 1);
        best[index] = i;
      }
    }
    return Arrays.stream(best).mapToObj(i -> stored.values()[i]).toList();
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
