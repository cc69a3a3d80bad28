package penstock.kernel.window;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.function.ToIntFunction;
import java.util.stream.IntStream;
import penstock.kernel.plan.Plan;

/** One window (size and hop) of a view, and the aggregates over it, laid out in rows. */
final class WindowSpec {
  /** No event's time comes so far; a lifetime ends beyond it. */
  private static final long BEYOND_TIME_MS = 1L << 61;

  final long sizeMs;
  final long hopMs;
  final Aggregate[] aggregates;

  /** For each aggregate, the place of its feature in the view. */
  final int[] features;

  /**
   * The aggregates that have cells in a row, and so are added to, merged and written: the others
   * read what one of these keeps.
   */
  final Aggregate[] accumulators;

  /** For each accumulator, which of the aggregates it is. */
  final int[] accumulating;

  /** The accumulators that keep running totals. */
  final Aggregate[] running;

  final int numbers;
  final int objects;

  /** For the features at {@code places} of a view, which share the window. */
  WindowSpec(long sizeMs, long hopMs, List<Plan.Feature> view, List<Integer> places) {
    this.sizeMs = sizeMs;
    this.hopMs = hopMs;
    this.features = places.stream().mapToInt(Integer::intValue).toArray();
    this.aggregates = new Aggregate[features.length];
    List<Integer> accumulating = new ArrayList<>();
    int nextNumber = 0;
    int nextObject = 0;
    for (int i : largestFirst(view)) {
      Plan.Feature feature = view.get(features[i]);
      Aggregate own = Aggregates.of(feature, nextNumber, nextObject);
      Optional<Aggregate> other =
          accumulating.stream()
              .filter(j -> view.get(features[j]).hasSameInput(feature))
              .map(j -> aggregates[j])
              .filter(own::canReadFrom)
              .findFirst();
      if (other.isPresent()) {
        aggregates[i] = Aggregates.of(feature, other.get().number, other.get().object);
      } else {
        aggregates[i] = own;
        accumulating.add(i);
        nextNumber += own.numbers();
        nextObject += own.objects();
      }
    }
    this.accumulating = accumulating.stream().mapToInt(Integer::intValue).toArray();
    this.accumulators = accumulating.stream().map(i -> aggregates[i]).toArray(Aggregate[]::new);
    this.running =
        Arrays.stream(accumulators).filter(Aggregate::keepsRunningTotal).toArray(Aggregate[]::new);
    this.numbers = nextNumber;
    this.objects = nextObject;
  }

  /** The aggregates in such an order that whichever can serve others comes before them. */
  private int[] largestFirst(List<Plan.Feature> view) {
    ToIntFunction<Integer> cells =
        i -> {
          Aggregate aggregate = Aggregates.of(view.get(features[i]), 0, 0);
          return aggregate.numbers() + aggregate.objects();
        };
    return IntStream.range(0, features.length)
        .boxed()
        .sorted(Comparator.comparingInt(cells).reversed())
        .mapToInt(Integer::intValue)
        .toArray();
  }

  /** The tile of an event. */
  long tile(long time) {
    return Math.floorDiv(time, hopMs);
  }

  /** Whether {@link #tile} of the time is this one. */
  boolean tileContains(long tile, long time) {
    return Long.compareUnsigned(time - tile * hopMs, hopMs) < 0;
  }

  /** Whether an event of that time is in the window at {@code asOf}, which is not before it. */
  boolean contains(long time, long asOf) {
    return time == asOf || tile(time) > expired(asOf);
  }

  /** The newest tile that has left the window at {@code asOf}. */
  long expired(long asOf) {
    long start = asOf - sizeMs;
    // Beyond the range of a long nothing has ever left.
    return start > asOf ? Long.MIN_VALUE : Math.floorDiv(start, hopMs);
  }

  /** When a tile leaves the window, epoch ms; the greatest long if it never does. */
  long expiresAt(long tile) {
    long end = tile * hopMs + sizeMs;
    return end < tile || end >= BEYOND_TIME_MS ? Long.MAX_VALUE : end;
  }

  /**
   * The first tile of the block that {@code asOf} lies in; a block has as many as fit the window.
   */
  long block(long asOf) {
    long tile = tile(asOf);
    return tile - Math.floorMod(tile, sizeMs / hopMs);
  }

  /** An as_of not after the one at which the next block begins. */
  long blockEndBound(long block) {
    return beginBound(block + sizeMs / hopMs, 0);
  }

  /** An as_of not after the one at which a tile leaves the window. */
  long expiryBound(long tile) {
    return beginBound(tile, sizeMs);
  }

  /** When a tile begins, or that much later; the least time where this is beyond all times. */
  private long beginBound(long tile, long laterMs) {
    long begin = tile * hopMs;
    long later = begin + laterMs;
    return Math.floorDiv(begin, hopMs) == tile && later >= begin ? later : Long.MIN_VALUE;
  }
}
