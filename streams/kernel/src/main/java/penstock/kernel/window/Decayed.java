package penstock.kernel.window;

/**
 * Weight and weighted sum of values, each halved for every half-life of its age. Both are kept as
 * of the newest value, which weighs one, so that neither can run out of range.
 */
final class Decayed extends Aggregate {
  /** What of them is the feature. */
  enum Of {
    COUNT,
    SUM,
    MEAN
  }

  private final Of of;
  private final double halfLifeMs;
  private final int newest;
  private final int weight;
  private final int sum;

  Decayed(int number, int object, Of of, double halfLifeMs) {
    super(number, object);
    this.of = of;
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
  boolean isServedBy(Aggregate other) {
    return other instanceof Decayed decayed && decayed.halfLifeMs == halfLifeMs;
  }

  @Override
  boolean countsFirst() {
    return true;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    add(rows, row, time, 1, 1, value instanceof Number x ? x.doubleValue() : 0);
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
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

  private void add(Rows rows, int row, long time, long count, double addWeight, double addSum) {
    long held = rows.number(row, number);
    long now = held == 0 ? time : Math.max(time, rows.number(row, newest));
    double ofHeld = held == 0 ? 0 : weightAfter(now - rows.number(row, newest));
    double ofAdded = weightAfter(now - time);
    rows.number(row, number, held + count);
    rows.number(row, newest, now);
    rows.real(row, weight, rows.real(row, weight) * ofHeld + addWeight * ofAdded);
    rows.real(row, sum, rows.real(row, sum) * ofHeld + addSum * ofAdded);
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    if (rows.number(row, number) == 0) {
      return of == Of.COUNT ? (Object) 0.0 : null;
    }
    double faded = weightAfter(arrival.asOf - rows.number(row, newest));
    return switch (of) {
      case COUNT -> rows.real(row, weight) * faded;
      case SUM -> rows.real(row, sum) * faded;
      case MEAN -> rows.real(row, sum) / rows.real(row, weight);
    };
  }

  /** Strict mathematics: the same bits on every machine. */
  private double weightAfter(long ms) {
    return ms == 0 ? 1 : StrictMath.pow(2, -ms / halfLifeMs);
  }
}
