package penstock.kernel.window;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/**
 * The most frequent values, of equally frequent ones the smaller first. What comes out depends on
 * the values of each tile and on the merging alone, so a restored window gives the same.
 */
final class MostFrequent extends ObjectAggregate<Tally> {
  /** The aggregate's specification in Python has it too. */
  private static final int MOST_COUNTED = 256;

  private final ColumnType type;
  private final int most;

  MostFrequent(int number, int object, ColumnType type, int most) {
    super(number, object);
    this.type = type;
    this.most = most;
  }

  /** How many are asked for is a matter of the result alone. */
  @Override
  boolean isServedBy(Aggregate other) {
    return other instanceof MostFrequent;
  }

  @Override
  Tally of(Object value, long time) {
    return Tally.of(value);
  }

  @Override
  Tally with(Tally held, Object value, long time) {
    return held.plus(value, MOST_COUNTED);
  }

  @Override
  Tally both(Tally older, Tally newer) {
    return older.and(newer, MOST_COUNTED);
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    Tally held = held(rows, row);
    if (held == null) {
      return null;
    }
    int[] best = new int[Math.min(most, held.size())];
    int found = 0;
    for (int i = 0; i < held.size(); i++) {
      int place = found;
      while (place > 0 && held.counts()[best[place - 1]] < held.counts()[i]) {
        place--;
      }
      if (place < best.length) {
        found = Math.min(found + 1, best.length);
        System.arraycopy(best, place, best, place + 1, found - place - 1);
        best[place] = i;
      }
    }
    return Arrays.stream(best).mapToObj(i -> held.values()[i]).toList();
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    ((Tally) value).write(type, out);
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    return Tally.read(type, in);
  }
}
