package penstock.kernel.window;

/**
 * Weight and weighted sum of values, each halved per half-life of age. Both are stored as of the
 * newest value, which has weight one, so that neither overflows.
 */
final class Decayed extends Aggregate {
  /** Which of them is the result. */
  enum Statistic {
    COUNT,
    SUM,
    MEAN
  }

  private final Statistic statistic;
  private final double halfLifeMs;
  private final int newest;
  private final int weight;
  private final int sum;

  Decayed(int number, int object, Statistic statistic, double halfLifeMs) {
    super(number, object);
    this.statistic = statistic;
    this.halfLifeMs = halfLifeMs;
    this.newest = number + 1;
    this.weight = number + 2;
    this.sum = number + 3;
  }

  @Override
  int numbers() {
    return 4;
  }

  @Override
  boolean canReadFrom(Aggregate other) {
    return other instanceof Decayed decayed && decayed.halfLifeMs == halfLifeMs;
  }

  @Override
  boolean startsWithCount() {
    return true;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    add(rows, row, time, 1, 1, value instanceof Number x ? x.doubleValue() : 0);
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    long count = newer.number(newerRow, number);
    if (count > 0) {
      add(
          older,
          row,
          newer.number(newerRow, newest),
          count,
          newer.real(newerRow, weight),
          newer.real(newerRow, sum));
    }
  }

  private void add(
      AccumulatorRows rows, int row, long time, long count, double addWeight, double addSum) {
    long stored = rows.number(row, number);
    long now = stored == 0 ? time : Math.max(time, rows.number(row, newest));
    double storedFade = stored == 0 ? 0 : weightBetween(rows.number(row, newest), now);
    double addedFade = weightBetween(time, now);
    rows.number(row, number, stored + count);
    rows.number(row, newest, now);
    rows.real(row, weight, rows.real(row, weight) * storedFade + addWeight * addedFade);
    rows.real(row, sum, rows.real(row, sum) * storedFade + addSum * addedFade);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    if (rows.number(row, number) == 0) {
      return statistic == Statistic.COUNT ? (Object) 0.0 : null;
    }
    double fade = weightBetween(rows.number(row, newest), current.asOf);
    return switch (statistic) {
      case COUNT -> rows.real(row, weight) * fade;
      case SUM -> rows.real(row, sum) * fade;
      case MEAN -> rows.real(row, sum) / rows.real(row, weight);
    };
  }

  /** StrictMath gives the same bits on every machine. */
  private double weightBetween(long time, long later) {
    return later == time ? 1 : StrictMath.pow(2, -Times.between(time, later) / halfLifeMs);
  }
}
