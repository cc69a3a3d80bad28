package penstock.kernel.window;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.function.ToIntFunction;
import java.util.stream.IntStream;
import penstock.kernel.plan.Plan;

/** One window (size and hop) of a view, and the layout of its aggregates in rows. */
final class WindowSpec {
  final long sizeMs;
  final long hopMs;
  final Aggregate[] aggregates;

  /** Per aggregate, the index of its feature in the view. */
  final int[] features;

  /** The aggregates with an accumulator of their own. The others read one of these. */
  final Aggregate[] accumulators;

  /** Per accumulator, the index of its aggregate. */
  final int[] accumulating;

  /** The accumulators that keep running totals. */
  final Aggregate[] running;

  final int numbers;
  final int objects;

  /** For the features of a view at the indexes {@code indexes}, which share the window. */
  WindowSpec(long sizeMs, long hopMs, List<Plan.Feature> view, List<Integer> indexes) {
    this.sizeMs = sizeMs;
    this.hopMs = hopMs;
    this.features = indexes.stream().mapToInt(Integer::intValue).toArray();
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

  /** The aggregates by descending size, so that one that others can read comes before them. */
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

  /** The tile of a time. */
  long tile(long time) {
    return Math.floorDiv(time, hopMs);
  }

  /** Whether {@code time} is in {@code tile}. */
  boolean tileContains(long tile, long time) {
    return Long.compareUnsigned(time - tile * hopMs, hopMs) < 0;
  }

  /** Whether {@code time} is in the window at {@code asOf}, which is not before it. */
  boolean contains(long time, long asOf) {
    return time == asOf || tile(time) >= firstInside(asOf);
  }

  /** The first tile that is in the window at {@code asOf}; the least long if that is earlier. */
  long firstInside(long asOf) {
    if (sizeMs >= Plan.LIFETIME_MS) {
      return Long.MIN_VALUE;
    }
    long start = asOf - sizeMs;
    return start <= asOf ? Math.floorDiv(start, hopMs) + 1 : firstOfEarlyWindow(asOf);
  }

  /** The same where the window starts before the least long. */
  private long firstOfEarlyWindow(long asOf) {
    long tile = tile(asOf);
    long startsEarlier = Math.floorMod(asOf, hopMs) < sizeMs % hopMs ? 1 : 0;
    long first = tile - sizeMs / hopMs - startsEarlier + 1;
    return first <= tile ? first : Long.MIN_VALUE;
  }

  /** When a tile expires, epoch ms; the greatest long if never. */
  long expiresAt(long tile) {
    if (sizeMs >= Plan.LIFETIME_MS) {
      return Long.MAX_VALUE;
    }
    // A tile may begin before the least long, but it ends, and so expires, after that.
    long end = tile * hopMs + sizeMs;
    return tile >= 0 && end < 0 ? Long.MAX_VALUE : end;
  }

  /** The first tile of the block of {@code asOf}. A block has as many tiles as a window. */
  long block(long asOf) {
    long tile = tile(asOf);
    long first = tile - Math.floorMod(tile, sizeMs / hopMs);
    return first <= tile ? first : Long.MIN_VALUE;
  }

  /** The next block begins no earlier than this. */
  long blockEndBound(long block) {
    return beginBound(block + sizeMs / hopMs, 0);
  }

  /** A tile expires no earlier than this. */
  long expiryBound(long tile) {
    return beginBound(tile, sizeMs);
  }

  /** When a tile begins, plus {@code laterMs}; the least long on overflow. */
  private long beginBound(long tile, long laterMs) {
    long begin = tile * hopMs;
    long later = begin + laterMs;
    return Math.floorDiv(begin, hopMs) == tile && later >= begin ? later : Long.MIN_VALUE;
  }
}
