package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/** The smallest value that at least a share q of all values does not exceed. */
final class Quantile extends ObjectAggregate<RankedValues> {
  private final double q;

  Quantile(int number, int object, double q) {
    super(number, object);
    this.q = q;
  }

  @Override
  boolean canReadFrom(Aggregate other) {
    return other instanceof Quantile;
  }

  @Override
  RankedValues newObject(Object value, long time) {
    return RankedValues.of(number(value));
  }

  @Override
  RankedValues addToObject(RankedValues stored, Object value, long time) {
    return stored.plus(number(value), time);
  }

  @Override
  RankedValues mergeObjects(RankedValues older, RankedValues newer) {
    return older.merge(newer);
  }

  private static double number(Object value) {
    // Adding 0.0 makes a negative zero positive.
    return ((Number) value).doubleValue() + 0.0;
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    RankedValues stored = stored(rows, row);
    return stored == null ? null : (Object) stored.quantile(q);
  }

  @Override
  byte[] sketch(AccumulatorRows rows, int row) {
    return stored(rows, row).toSketch().toByteArray();
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
