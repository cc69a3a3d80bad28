package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/**
 * The two latest values by event time; of equal times the one that arrived last. One of them is the
 * latest that is not the current event's own.
 */
abstract class TwoLatest extends Aggregate {
  /** Type of the values; null if only times are kept. */
  private final ColumnType type;

  TwoLatest(int number, int object, ColumnType type) {
    super(number, object);
    this.type = type;
  }

  /** Their number and their times. */
  @Override
  final int numbers() {
    return 3;
  }

  @Override
  final int objects() {
    return type == null ? 0 : 2;
  }

  @Override
  final boolean canReadFrom(Aggregate other) {
    return other instanceof TwoLatest latest && (type == null || latest.type == type);
  }

  @Override
  final void add(AccumulatorRows rows, int row, Object value, long time) {
    long stored = rows.number(row, number);
    if (stored > 0 && time < rows.number(row, number + 1)) {
      if (stored == 1 || time >= rows.number(row, number + 2)) {
        put(rows, row, 1, value, time);
      }
    } else {
      if (stored > 0) {
        put(rows, row, 1, value(rows, row, 0), rows.number(row, number + 1));
      }
      put(rows, row, 0, value, time);
    }
    rows.number(row, number, Math.min(stored + 1, 2));
  }

  @Override
  final void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    for (int i = (int) newer.number(newerRow, number) - 1; i >= 0; i--) {
      add(older, row, value(newer, newerRow, i), newer.number(newerRow, number + 1 + i));
    }
  }

  /** Index of the latest that is not the current event itself; -1 if there is none. */
  final int previous(AccumulatorRows rows, int row, CurrentEvent current) {
    long stored = rows.number(row, number);
    boolean latestIsOwn =
        stored > 0 && current.value != null && current.time == rows.number(row, number + 1);
    int previous = latestIsOwn ? 1 : 0;
    return previous < stored ? previous : -1;
  }

  final long time(AccumulatorRows rows, int row, int which) {
    return rows.number(row, number + 1 + which);
  }

  final Object value(AccumulatorRows rows, int row, int which) {
    return type == null ? null : rows.object(row, object + which);
  }

  private void put(AccumulatorRows rows, int row, int which, Object value, long time) {
    rows.number(row, number + 1 + which, time);
    if (type != null) {
      rows.object(row, object + which, value);
    }
  }

  @Override
  final void writeObject(Object value, DataOutputView out) throws IOException {
    type.write(value, out);
  }

  @Override
  final Object readObject(DataInputView in) throws IOException {
    return type.read(in);
  }
}
