package penstock.kernel.window;

import java.util.ArrayList;
import java.util.List;

/** Number of values in each bucket. A value on an edge belongs to the bucket above it. */
final class Histogram extends Aggregate {
  private final double[] edges;

  Histogram(int number, int object, List<Double> edges) {
    super(number, object);
    this.edges = edges.stream().mapToDouble(Double::doubleValue).toArray();
  }

  @Override
  int numbers() {
    return edges.length + 1;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    int bucket = number + bucket(((Number) value).doubleValue());
    rows.number(row, bucket, rows.number(row, bucket) + 1);
  }

  /** How many edges are not greater than the value. */
  private int bucket(double value) {
    int low = 0;
    int high = edges.length;
    while (low < high) {
      int middle = (low + high) >>> 1;
      if (edges[middle] <= value) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    for (int i = number; i < number + numbers(); i++) {
      older.number(row, i, older.number(row, i) + newer.number(newerRow, i));
    }
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    List<Object> counts = new ArrayList<>(numbers());
    for (int i = number; i < number + numbers(); i++) {
      counts.add(rows.number(row, i));
    }
    return counts;
  }
}
