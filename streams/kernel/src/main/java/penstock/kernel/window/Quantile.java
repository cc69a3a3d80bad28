package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/** The least value that a share of at least q of all values does not exceed. */
final class Quantile extends Aggregate {
  private final double q;

  Quantile(int number, int object, double q) {
    super(number, object);
    this.q = q;
  }

  @Override
  int numbers() {
    return 0;
  }

  @Override
  int objects() {
    return 1;
  }

  @Override
  boolean isServedBy(Aggregate other) {
    return other instanceof Quantile;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    // Zero has two forms; the sum of both is the positive one.
    double number = ((Number) value).doubleValue() + 0.0;
    RankedValues held = (RankedValues) rows.object(row, object);
    rows.object(row, object, held == null ? RankedValues.of(number) : held.with(number, time));
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    RankedValues right = (RankedValues) newer.object(newerRow, object);
    if (right != null) {
      RankedValues left = (RankedValues) older.object(row, object);
      older.object(row, object, left == null ? right : left.and(right));
    }
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    RankedValues held = (RankedValues) rows.object(row, object);
    return held == null ? null : (Object) held.quantile(q);
  }

  @Override
  byte[] sketch(Rows rows, int row) {
    return ((RankedValues) rows.object(row, object)).toSketch().toByteArray();
  }

  @Override
  Object copyObject(Object value) {
    return ((RankedValues) value).copy();
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    Binary.writeBytes(((RankedValues) value).toBytes(), out);
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    return RankedValues.fromBytes(Binary.readBytes(in));
  }
}
