package penstock.kernel.window;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/** The smallest values in ascending, or the largest in descending order. */
final class Extremes extends ObjectAggregate<double[]> {
  private final int most;
  private final boolean smallest;

  Extremes(int number, int object, int most, boolean smallest) {
    super(number, object);
    this.most = most;
    this.smallest = smallest;
  }

  @Override
  double[] of(Object value, long time) {
    return new double[] {((Number) value).doubleValue()};
  }

  @Override
  double[] with(double[] held, Object value, long time) {
    return both(held, of(value, time));
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    double[] held = held(rows, row);
    if (held == null) {
      return null;
    }
    List<Object> values = new ArrayList<>(held.length);
    for (double value : held) {
      values.add(value);
    }
    return values;
  }

  /** The outermost of two, a new array unless one is all of it; neither is changed. */
  @Override
  double[] both(double[] left, double[] right) {
    if (left.length == most && !isBefore(right[0], left[most - 1])) {
      return left;
    }
    double[] both = new double[Math.min(left.length + right.length, most)];
    int i = 0;
    int j = 0;
    for (int place = 0; place < both.length; place++) {
      boolean fromRight = i == left.length || j < right.length && isBefore(right[j], left[i]);
      both[place] = fromRight ? right[j++] : left[i++];
    }
    return both;
  }

  private boolean isBefore(double one, double other) {
    int order = Double.compare(one, other);
    return smallest ? order < 0 : order > 0;
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    double[] held = (double[]) value;
    Binary.writeSize(held.length, out);
    for (double each : held) {
      out.writeDouble(each);
    }
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    double[] held = new double[Binary.readSize(in)];
    for (int i = 0; i < held.length; i++) {
      held[i] = in.readDouble();
    }
    return held;
  }
}
