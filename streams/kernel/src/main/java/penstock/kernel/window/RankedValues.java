package penstock.kernel.window;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.stream.LongStream;
import org.apache.datasketches.kll.DeterministicKll;
import org.apache.datasketches.kll.KllDoublesSketch;
import org.apache.datasketches.memory.Memory;
import org.apache.datasketches.quantilescommon.DoublesSketchSortedView;

/**
 * Numbers by rank. Up to 48 are kept in a sorted array. More are in Apache DataSketches' KLL (k =
 * 200), which is exact up to 200.
 *
 * <p>A query does not change the sketch, not even the order of its items: later results must not
 * depend on earlier queries.
 */
abstract class RankedValues {
  private static final int K = 200;
  private static final int MAX_EXACT = 48;
  private static final long[] UNIT_WEIGHTS = LongStream.rangeClosed(1, MAX_EXACT).toArray();

  /** How many numbers there are. */
  abstract long count();

  /** Adds the value of an event at {@code time}. Changes a sketch in place. */
  abstract RankedValues plus(double value, long time);

  /** The same numbers as one array or sketch. */
  abstract RankedValues merged();

  /** All numbers in a new sketch. */
  abstract KllDoublesSketch toSketch();

  /** The number of that rank; the smallest has rank 1. */
  abstract double atRank(long rank);

  /** The numbers in order. */
  abstract Ranks ranks();

  /** A copy that does not change with this one. */
  abstract RankedValues copy();

  /** For a snapshot. */
  abstract byte[] toBytes();

  static RankedValues of(double value) {
    return new Exact(new double[] {value});
  }

  /** Merges both and changes neither. They must not change while the result is used. */
  final RankedValues merge(RankedValues newer) {
    if (this instanceof Exact some && newer instanceof Exact others) {
      double[] both = Arrays.copyOf(some.values, some.values.length + others.values.length);
      System.arraycopy(others.values, 0, both, some.values.length, others.values.length);
      if (both.length <= MAX_EXACT) {
        Arrays.sort(both);
        return new Exact(both);
      }
    }
    return new LazyMerge(merged(), newer.merged());
  }

  /** The smallest number that at least a share {@code q} of them does not exceed. */
  final double quantile(double q) {
    return atRank(Math.max(1, Math.min(rank(q, count()), count())));
  }

  /** The smallest whole number that is at least {@code q * count}, for the decimal that q was written as. */
  static long rank(double q, long count) {
    double product = q * count;
    if (Math.abs(product - Math.rint(product)) > 1e-9 * (1 + product)) {
      return (long) Math.ceil(product);
    }
    // Near a whole number the product may be rounded across it: 0.28 * 25 is 7.000000000000001.
    return BigDecimal.valueOf(q)
        .multiply(BigDecimal.valueOf(count))
        .setScale(0, RoundingMode.CEILING)
        .longValue();
  }

  /** Reads what {@link #toBytes} wrote. */
  static RankedValues fromBytes(byte[] bytes) {
    ByteBuffer buffer = ByteBuffer.wrap(bytes);
    double[] values = new double[buffer.get()];
    if (values.length == 0) {
      return new Sketched(sketchOf(Arrays.copyOfRange(bytes, 1, bytes.length)));
    }
    for (int i = 0; i < values.length; i++) {
      values[i] = buffer.getDouble();
    }
    return new Exact(values);
  }

  private static KllDoublesSketch sketchOf(byte[] bytes) {
    return KllDoublesSketch.heapify(Memory.wrap(bytes));
  }

  /** A sorted array, which never changes. */
  private static final class Exact extends RankedValues {
    private final double[] values;

    Exact(double[] values) {
      this.values = values;
    }

    @Override
    long count() {
      return values.length;
    }

    @Override
    RankedValues plus(double value, long time) {
      if (values.length == MAX_EXACT) {
        return new Sketched(toSketch()).plus(value, time);
      }
      int index = Arrays.binarySearch(values, value);
      int at = index < 0 ? -index - 1 : index;
      double[] more = new double[values.length + 1];
      System.arraycopy(values, 0, more, 0, at);
      more[at] = value;
      System.arraycopy(values, at, more, at + 1, values.length - at);
      return new Exact(more);
    }

    @Override
    RankedValues merged() {
      return this;
    }

    @Override
    KllDoublesSketch toSketch() {
      KllDoublesSketch sketch = KllDoublesSketch.newHeapInstance(K);
      into(sketch);
      return sketch;
    }

    void into(KllDoublesSketch sketch) {
      for (double value : values) {
        DeterministicKll.update(sketch, value, 0);
      }
    }

    @Override
    double atRank(long rank) {
      return values[(int) rank - 1];
    }

    @Override
    Ranks ranks() {
      return new Ranks(values, UNIT_WEIGHTS);
    }

    @Override
    RankedValues copy() {
      return this;
    }

    @Override
    byte[] toBytes() {
      ByteBuffer buffer = ByteBuffer.allocate(1 + Double.BYTES * values.length);
      buffer.put((byte) values.length);
      for (double value : values) {
        buffer.putDouble(value);
      }
      return buffer.array();
    }
  }

  /** A sketch. Only the one of the newest tile changes. */
  private static final class Sketched extends RankedValues {
    private final KllDoublesSketch sketch;

    /** Null before a query, and again after a change. */
    private Ranks ranks;

    Sketched(KllDoublesSketch sketch) {
      this.sketch = sketch;
    }

    @Override
    long count() {
      return sketch.getN();
    }

    @Override
    RankedValues plus(double value, long time) {
      DeterministicKll.update(sketch, value, time);
      ranks = null;
      return this;
    }

    @Override
    RankedValues merged() {
      return this;
    }

    @Override
    KllDoublesSketch toSketch() {
      return sketchOf(sketch.toByteArray());
    }

    @Override
    Ranks ranks() {
      if (ranks == null) {
        // From a copy: the library sorts the sketch in place.
        DoublesSketchSortedView view = toSketch().getSortedView();
        ranks = new Ranks(view.getQuantiles(), view.getCumulativeWeights());
      }
      return ranks;
    }

    @Override
    double atRank(long rank) {
      return ranks().smallest(rank, null);
    }

    @Override
    RankedValues copy() {
      return new Sketched(toSketch());
    }

    @Override
    byte[] toBytes() {
      byte[] bytes = sketch.toByteArray();
      return ByteBuffer.allocate(1 + bytes.length).put((byte) 0).put(bytes).array();
    }
  }

  /** Two sets of numbers, merged into one sketch only if needed. */
  private static final class LazyMerge extends RankedValues {
    private final RankedValues older;
    private final RankedValues newer;
    private Sketched merged;

    LazyMerge(RankedValues older, RankedValues newer) {
      this.older = older;
      this.newer = newer;
    }

    @Override
    long count() {
      return older.count() + newer.count();
    }

    @Override
    RankedValues plus(double value, long time) {
      return new Sketched(toSketch()).plus(value, time);
    }

    @Override
    RankedValues merged() {
      if (merged == null) {
        merged = new Sketched(toSketch());
      }
      return merged;
    }

    @Override
    KllDoublesSketch toSketch() {
      boolean fewAreOlder = older instanceof Exact;
      KllDoublesSketch sketch = (fewAreOlder ? newer : older).toSketch();
      RankedValues others = fewAreOlder ? older : newer;
      if (others instanceof Exact few) {
        few.into(sketch);
      } else {
        DeterministicKll.merge(sketch, ((Sketched) others).sketch);
      }
      return sketch;
    }

    @Override
    Ranks ranks() {
      return merged().ranks();
    }

    @Override
    double atRank(long rank) {
      Ranks some = older.ranks();
      Ranks others = newer.ranks();
      return Math.min(some.smallest(rank, others), others.smallest(rank, some));
    }

    @Override
    RankedValues copy() {
      return new Sketched(toSketch());
    }

    @Override
    byte[] toBytes() {
      return merged().toBytes();
    }
  }

  /** Sorted numbers with their cumulative weights. */
  private record Ranks(double[] values, long[] weights) {

    /**
     * The smallest of these numbers at which these and {@code others} reach the rank; infinity if
     * none.
     */
    double smallest(long rank, Ranks others) {
      int low = 0;
      int high = values.length;
      while (low < high) {
        int middle = (low + high) >>> 1;
        long weight = weights[middle] + (others == null ? 0 : others.weightUpTo(values[middle]));
        if (weight >= rank) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      return low < values.length ? values[low] : Double.POSITIVE_INFINITY;
    }

    private long weightUpTo(double value) {
      int low = 0;
      int high = values.length;
      while (low < high) {
        int middle = (low + high) >>> 1;
        if (values[middle] <= value) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      return low == 0 ? 0 : weights[low - 1];
    }
  }
}
