package penstock.kernel.window;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/** The k smallest values in ascending, or the k largest in descending order. */
final class TopBottomK extends ObjectAggregate<double[]> {
  private final int k;
  private final boolean smallest;

  TopBottomK(int number, int object, int k, boolean smallest) {
    super(number, object);
    this.k = k;
    this.smallest = smallest;
  }

  @Override
  double[] newObject(Object value, long time) {
    return new double[] {((Number) value).doubleValue()};
  }

  @Override
  double[] addToObject(double[] stored, Object value, long time) {
    return mergeObjects(stored, newObject(value, time));
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    double[] stored = stored(rows, row);
    if (stored == null) {
      return null;
    }
    List<Object> values = new ArrayList<>(stored.length);
    for (double value : stored) {
      values.add(value);
    }
    return values;
  }

  /** Changes neither. Returns a new array, unless the result is all of {@code left}. */
  @Override
  double[] mergeObjects(double[] left, double[] right) {
    if (left.length == k && !isBefore(right[0], left[k - 1])) {
      return left;
    }
    double[] both = new double[Math.min(left.length + right.length, k)];
    int i = 0;
    int j = 0;
    for (int index = 0; index < both.length; index++) {
      boolean fromRight = i == left.length || j < right.length && isBefore(right[j], left[i]);
      both[index] = fromRight ? right[j++] : left[i++];
    }
    return both;
  }

  private boolean isBefore(double one, double other) {
    int order = Double.compare(one, other);
    return smallest ? order < 0 : order > 0;
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    double[] stored = (double[]) value;
    Binary.writeSize(stored.length, out);
    for (double each : stored) {
      out.writeDouble(each);
    }
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    double[] stored = new double[Binary.readSize(in)];
    for (int i = 0; i < stored.length; i++) {
      stored[i] = in.readDouble();
    }
    return stored;
  }
}
