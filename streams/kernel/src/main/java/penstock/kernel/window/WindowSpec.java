package penstock.kernel.window;

import java.util.ArrayList;
import java.util.List;
import penstock.kernel.plan.Plan;

/** One window (size and hop) of a view, and the aggregates over it, laid out in rows. */
final class WindowSpec {
  final long sizeMs;
  final long hopMs;
  final Aggregate[] aggregates;

  /** For each aggregate, the place of its feature in the view. */
  final int[] features;

  final int numbers;
  final int objects;

  /** For the features at {@code places} of a view, which share the window. */
  WindowSpec(long sizeMs, long hopMs, List<Plan.Feature> view, List<Integer> places) {
    this.sizeMs = sizeMs;
    this.hopMs = hopMs;
    this.features = places.stream().mapToInt(Integer::intValue).toArray();
    List<Aggregate> laidOut = new ArrayList<>();
    int nextNumber = 0;
    int nextObject = 0;
    for (int place : features) {
      Aggregate aggregate = Aggregates.of(view.get(place), nextNumber, nextObject);
      nextNumber += aggregate.numbers();
      nextObject += aggregate.objects();
      laidOut.add(aggregate);
    }
    this.aggregates = laidOut.toArray(Aggregate[]::new);
    this.numbers = nextNumber;
    this.objects = nextObject;
  }

  /** The tile of an event. */
  long tile(long time) {
    return Math.floorDiv(time, hopMs);
  }

  /** The newest tile that has left the window at {@code asOf}. */
  long expired(long asOf) {
    long start = asOf - sizeMs;
    // Beyond the range of a long nothing has ever left.
    return start > asOf ? Long.MIN_VALUE : Math.floorDiv(start, hopMs);
  }

  /**
   * The first tile of the block that {@code asOf} lies in; a block has as many as fit the window.
   */
  long block(long asOf) {
    long tile = tile(asOf);
    return tile - Math.floorMod(tile, sizeMs / hopMs);
  }
}
