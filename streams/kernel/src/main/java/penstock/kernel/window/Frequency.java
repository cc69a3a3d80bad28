package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/** How often the arriving value was seen. */
final class Frequency extends ObjectAggregate<Object> {
  private final ColumnType type;
  private final int bound;

  Frequency(int number, int object, ColumnType type, int bound) {
    super(number, object);
    this.type = type;
    this.bound = bound;
  }

  /**
   * Two tallies that are added up only if that is needed: to look one value up, it is not. Neither
   * is ever changed.
   */
  private static final class Both {
    private final Tally older;
    private final Tally newer;
    private Tally sum;

    Both(Tally older, Tally newer) {
      this.older = older;
      this.newer = newer;
    }
  }

  @Override
  boolean isServedBy(Aggregate other) {
    return other instanceof Frequency frequency && frequency.bound == bound;
  }

  @Override
  Object of(Object value, long time) {
    return Tally.of(value);
  }

  @Override
  Object with(Object held, Object value, long time) {
    return tally(held).plus(value, bound);
  }

  @Override
  Object both(Object older, Object newer) {
    return new Both(tally(older), tally(newer));
  }

  private Tally tally(Object held) {
    if (held instanceof Both both) {
      if (both.sum == null) {
        both.sum = both.older.and(both.newer, bound);
      }
      return both.sum;
    }
    return (Tally) held;
  }

  @Override
  boolean isAboutTheEvent() {
    return true;
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    Object held = held(rows, row);
    if (held == null || arrival.value == null) {
      return 0L;
    }
    return held instanceof Both both
        ? both.older.count(arrival.value) + both.newer.count(arrival.value)
        : ((Tally) held).count(arrival.value);
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
