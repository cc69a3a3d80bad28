package penstock.kernel.window;

import penstock.kernel.plan.Plan;

/** Creates aggregates by operation. */
final class Aggregates {
  private Aggregates() {}

  /**
   * The aggregate of a feature, with its accumulator at {@code number} and {@code object} of a row.
   */
  static Aggregate of(Plan.Feature feature, int number, int object) {
    return switch (feature.operation()) {
      case COUNT -> new Count(number, object);
      case RATE -> new Rate(number, object, feature.windowMs());
      case SUM -> new Sum(number, object);
      case MEAN -> new Mean(number, object);
      case MIN -> new MinMax(number, object, true);
      case MAX -> new MinMax(number, object, false);
      case VARIANCE -> new Variance(number, object);
      case STD -> new Std(number, object);
      case ZSCORE -> new ZScore(number, object);
      case SKEWNESS -> new Skewness(number, object);
      case KURTOSIS -> new Kurtosis(number, object);
      case FIRST -> new FirstLast(number, object, feature.valueType(), false);
      case LAST -> new FirstLast(number, object, feature.valueType(), true);
      case CHANGED -> new Changed(number, object, feature.valueType());
      case TIME_SINCE_FIRST -> new TimeSince(number, object, false);
      case TIME_SINCE_LAST -> new TimeSince(number, object, true);
      case TIME_SINCE_PREVIOUS -> new TimeSincePrevious(number, object);
      case APPROX_DISTINCT -> new DistinctCount(number, object, DistinctCount.ESTIMATE_BOUND);
      case DISTINCT -> new DistinctCount(number, object, feature.bound());
      case QUANTILE -> new Quantile(number, object, feature.q());
      case FREQUENCY -> new Frequency(number, object, feature.valueType(), feature.bound());
      case SESSION_COUNT -> new Sessions(number, object, Sessions.Measure.COUNT, feature.gapMs());
      case SESSION_LENGTH -> new Sessions(number, object, Sessions.Measure.LENGTH, feature.gapMs());
      case DECAYED_COUNT ->
          new Decayed(number, object, Decayed.Statistic.COUNT, feature.halfLifeMs());
      case DECAYED_SUM -> new Decayed(number, object, Decayed.Statistic.SUM, feature.halfLifeMs());
      case DECAYED_MEAN ->
          new Decayed(number, object, Decayed.Statistic.MEAN, feature.halfLifeMs());
      case FIRST_K -> new FirstLastK(number, object, feature.valueType(), feature.k(), false);
      case LAST_K -> new FirstLastK(number, object, feature.valueType(), feature.k(), true);
      case TOP_K -> new TopBottomK(number, object, feature.k(), false);
      case BOTTOM_K -> new TopBottomK(number, object, feature.k(), true);
      case MOST_FREQUENT -> new MostFrequent(number, object, feature.valueType(), feature.k());
      case HISTOGRAM -> new Histogram(number, object, feature.buckets());
    };
  }
}
