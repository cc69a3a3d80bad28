package penstock.kernel.window;

import penstock.kernel.plan.Plan;

/** The aggregates of the definition language, by operation. */
final class Aggregates {
  private Aggregates() {}

  /**
   * The algebra of a feature; its accumulator starts at {@code number} and {@code object} of a row.
   */
  static Aggregate of(Plan.Feature feature, int number, int object) {
    return switch (feature.operation()) {
      case COUNT -> new Count(number, object);
      case SUM -> new Sum(number, object);
      case MEAN -> new Mean(number, object);
      case MIN -> new Extreme(number, object, true);
      case MAX -> new Extreme(number, object, false);
      case STD -> new Deviation(number, object);
      case LAST -> new Last(number, object, feature.columnType());
      case APPROX_DISTINCT -> new ApproxDistinct(number, object);
      case TIME_SINCE_LAST -> new TimeSinceLast(number, object);
    };
  }
}
