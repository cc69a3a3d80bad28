package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.ColumnType;

/** The value with the greatest event time; of several, the one that arrived last. */
final class Last extends Aggregate {
  private final ColumnType type;

  Last(int number, int object, ColumnType type) {
    super(number, object);
    this.type = type;
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
  void add(Rows rows, int row, Object value, long time) {
    if (rows.object(row, object) == null || time >= rows.number(row, number)) {
      rows.number(row, number, time);
      rows.object(row, object, value);
    }
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    Object value = newer.object(newerRow, object);
    if (value != null) {
      add(older, row, value, newer.number(newerRow, number));
    }
  }

  @Override
  Object result(Rows rows, int row, long asOf) {
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
