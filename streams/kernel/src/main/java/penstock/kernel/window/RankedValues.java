package penstock.kernel.window;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.stream.LongStream;
import org.apache.datasketches.kll.KllDoublesSketch;
import org.apache.datasketches.kll.RepeatableKll;
import org.apache.datasketches.memory.Memory;
import org.apache.datasketches.quantilescommon.DoublesSketchSortedView;

/**
 * Numbers that can be asked for by rank. Few are kept as they are, sorted, which merges in no time;
 * more in Apache DataSketches' KLL (k = 200), which has its values exactly up to 200 of them.
 *
 * <p>What asks for a rank does not change the sketch, not even the order of what it holds: what is
 * asked, and how often, must not show in later values.
 */
abstract class RankedValues {
  private static final int K = 200;
  private static final int MOST_AS_THEY_ARE = 48;
  private static final long[] ONE_EACH = LongStream.rangeClosed(1, MOST_AS_THEY_ARE).toArray();

  /** How many numbers there are. */
  abstract long count();

  /** These and one more, of an event at {@code time}; a sketch is changed in place. */
  abstract RankedValues with(double value, long time);

  /** The same numbers in one place: no merge that is still to be made. */
  abstract RankedValues merged();

  /** All of them in a sketch that nobody else has. */
  abstract KllDoublesSketch toSketch();

  /** The number of that rank; the least has rank 1. */
  abstract double atRank(long rank);

  /** The numbers in order. */
  abstract Ranks ranks();

  /** What can be kept while this one is changed. */
  abstract RankedValues copy();

  /** For a snapshot. */
  abstract byte[] toBytes();

  static RankedValues of(double value) {
    return new Few(new double[] {value});
  }

  /** Both; neither is changed, and neither may be as long as the result is used. */
  final RankedValues and(RankedValues newer) {
    if (this instanceof Few some && newer instanceof Few others) {
      double[] both = Arrays.copyOf(some.values, some.values.length + others.values.length);
      System.arraycopy(others.values, 0, both, some.values.length, others.values.length);
      if (both.length <= MOST_AS_THEY_ARE) {
        Arrays.sort(both);
        return new Few(both);
      }
    }
    return new Both(merged(), newer.merged());
  }

  /** The least number that a share of at least {@code q} of them does not exceed. */
  final double quantile(double q) {
    long rank = (long) Math.ceil(q * count());
    return atRank(Math.max(1, Math.min(rank, count())));
  }

  /** Reads what {@link #toBytes} wrote. */
  static RankedValues fromBytes(byte[] bytes) {
    ByteBuffer buffer = ByteBuffer.wrap(bytes);
    double[] values = new double[buffer.get()];
    if (values.length == 0) {
      return new Sketch(sketchOf(Arrays.copyOfRange(bytes, 1, bytes.length)));
    }
    for (int i = 0; i < values.length; i++) {
      values[i] = buffer.getDouble();
    }
    return new Few(values);
  }

  private static KllDoublesSketch sketchOf(byte[] bytes) {
    return KllDoublesSketch.heapify(Memory.wrap(bytes));
  }

  /** Numbers as they are, in order; never changed. */
  private static final class Few extends RankedValues {
    private final double[] values;

    Few(double[] values) {
      this.values = values;
    }

    @Override
    long count() {
      return values.length;
    }

    @Override
    RankedValues with(double value, long time) {
      if (values.length == MOST_AS_THEY_ARE) {
        return new Sketch(toSketch()).with(value, time);
      }
      int place = Arrays.binarySearch(values, value);
      int at = place < 0 ? -place - 1 : place;
      double[] more = new double[values.length + 1];
      System.arraycopy(values, 0, more, 0, at);
      more[at] = value;
      System.arraycopy(values, at, more, at + 1, values.length - at);
      return new Few(more);
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
        RepeatableKll.update(sketch, value, 0);
      }
    }

    @Override
    double atRank(long rank) {
      return values[(int) rank - 1];
    }

    @Override
    Ranks ranks() {
      return new Ranks(values, ONE_EACH);
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

  /** Many numbers; changed in place in the newest tile, and nowhere else. */
  private static final class Sketch extends RankedValues {
    private final KllDoublesSketch sketch;

    /** Null until a rank is asked for, and again after a change. */
    private Ranks ranks;

    Sketch(KllDoublesSketch sketch) {
      this.sketch = sketch;
    }

    @Override
    long count() {
      return sketch.getN();
    }

    @Override
    RankedValues with(double value, long time) {
      RepeatableKll.update(sketch, value, time);
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
        // A copy's: the library sorts in place what it shows in order.
        DoublesSketchSortedView view = toSketch().getSortedView();
        ranks = new Ranks(view.getQuantiles(), view.getCumulativeWeights());
      }
      return ranks;
    }

    @Override
    double atRank(long rank) {
      return ranks().least(rank, null);
    }

    @Override
    RankedValues copy() {
      return new Sketch(toSketch());
    }

    @Override
    byte[] toBytes() {
      byte[] bytes = sketch.toByteArray();
      return ByteBuffer.allocate(1 + bytes.length).put((byte) 0).put(bytes).array();
    }
  }

  /** Two sets of numbers; they are merged into one sketch only if that is needed. */
  private static final class Both extends RankedValues {
    private final RankedValues older;
    private final RankedValues newer;
    private Sketch merged;

    Both(RankedValues older, RankedValues newer) {
      this.older = older;
      this.newer = newer;
    }

    @Override
    long count() {
      return older.count() + newer.count();
    }

    @Override
    RankedValues with(double value, long time) {
      return new Sketch(toSketch()).with(value, time);
    }

    @Override
    RankedValues merged() {
      if (merged == null) {
        merged = new Sketch(toSketch());
      }
      return merged;
    }

    @Override
    KllDoublesSketch toSketch() {
      boolean fewAreOlder = older instanceof Few;
      KllDoublesSketch sketch = (fewAreOlder ? newer : older).toSketch();
      RankedValues others = fewAreOlder ? older : newer;
      if (others instanceof Few few) {
        few.into(sketch);
      } else {
        RepeatableKll.merge(sketch, ((Sketch) others).sketch);
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
      return Math.min(some.least(rank, others), others.least(rank, some));
    }

    @Override
    RankedValues copy() {
      return new Sketch(toSketch());
    }

    @Override
    byte[] toBytes() {
      return merged().toBytes();
    }
  }

  /** Numbers in order, and how much each of them and all before it weigh. */
  private record Ranks(double[] values, long[] weights) {

    /**
     * The least of these numbers at which these and the others reach the rank; infinity if none.
     */
    double least(long rank, Ranks others) {
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
