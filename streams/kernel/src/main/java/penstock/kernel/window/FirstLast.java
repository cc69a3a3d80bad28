package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/**
 * The first or last value by event time. Of equal times, the first one to arrive is the first, and
 * the last one to arrive the last.
 */
final class FirstLast extends Aggregate {
  private final ColumnType type;
  private final boolean latest;

  FirstLast(int number, int object, ColumnType type, boolean latest) {
    super(number, object);
    this.type = type;
    this.latest = latest;
  }

  @Override
  int numbers() {
    return 1;
  }

  @Override
  int objects() {
    return 1;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    long stored = rows.number(row, number);
    if (rows.object(row, object) == null || (latest ? time >= stored : time < stored)) {
      rows.number(row, number, time);
      rows.object(row, object, value);
    }
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    Object value = newer.object(newerRow, object);
    if (value != null) {
      add(older, row, value, newer.number(newerRow, number));
    }
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    return rows.object(row, object);
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    type.write(value, out);
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    return type.read(in);
  }
}
