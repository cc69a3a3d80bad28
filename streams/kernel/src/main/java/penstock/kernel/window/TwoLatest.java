package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/**
 * The two latest values by event time (of the same time, the later arrival is the later): one of
 * them is the latest that is not the arriving event's own.
 */
abstract class TwoLatest extends Aggregate {
  /** Of the values that are kept; null if times alone are. */
  private final ColumnType type;

  TwoLatest(int number, int object, ColumnType type) {
    super(number, object);
    this.type = type;
  }

  /** How many there are, and their times. */
  @Override
  final int numbers() {
    return 3;
  }

  @Override
  final int objects() {
    return type == null ? 0 : 2;
  }

  @Override
  final boolean isServedBy(Aggregate other) {
    return other instanceof TwoLatest latest && (type == null || latest.type == type);
  }

  @Override
  final void add(Rows rows, int row, Object value, long time) {
    long held = rows.number(row, number);
    if (held > 0 && time < rows.number(row, number + 1)) {
      if (held == 1 || time >= rows.number(row, number + 2)) {
        put(rows, row, 1, value, time);
      }
    } else {
      if (held > 0) {
        put(rows, row, 1, value(rows, row, 0), rows.number(row, number + 1));
      }
      put(rows, row, 0, value, time);
    }
    rows.number(row, number, Math.min(held + 1, 2));
  }

  @Override
  final void merge(Rows older, int row, Rows newer, int newerRow) {
    for (int i = (int) newer.number(newerRow, number) - 1; i >= 0; i--) {
      add(older, row, value(newer, newerRow, i), newer.number(newerRow, number + 1 + i));
    }
  }

  /** Which of the two is the latest that is not the arriving event itself; -1 if none is. */
  final int previous(Rows rows, int row, Arrival arrival) {
    long held = rows.number(row, number);
    boolean latestIsOwn =
        held > 0 && arrival.value != null && arrival.time == rows.number(row, number + 1);
    int previous = latestIsOwn ? 1 : 0;
    return previous < held ? previous : -1;
  }

  final long time(Rows rows, int row, int which) {
    return rows.number(row, number + 1 + which);
  }

  final Object value(Rows rows, int row, int which) {
    return type == null ? null : rows.object(row, object + which);
  }

  private void put(Rows rows, int row, int which, Object value, long time) {
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
