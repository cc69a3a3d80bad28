package penstock.kernel.window;

import java.util.List;
import penstock.kernel.plan.Plan;

/** Sketches that every implementation of Apache DataSketches can read. */
public final class Sketches {
  private Sketches() {}

  /**
   * A feature's sketch of these values (of its column's type, not null), as bytes.
   *
   * @return null if there are no values, or the feature keeps no sketch
   */
  public static byte[] of(Plan.Feature feature, List<Object> values) {
    Aggregate aggregate = Aggregates.of(feature, 0, 0);
    AccumulatorRows rows = new AccumulatorRows(aggregate.numbers(), aggregate.objects(), 1);
    for (int i = 0; i < values.size(); i++) {
      aggregate.add(rows, 0, values.get(i), i);
    }
    return values.isEmpty() ? null : aggregate.sketch(rows, 0);
  }
}
