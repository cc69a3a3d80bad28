package penstock.kernel.window;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import penstock.kernel.Plans;
import penstock.kernel.plan.Plan;

/** Windows compared with a naive recomputation from all values, over random streams. */
class TilesTest {
  private static final int EVENTS = 3_000;
  private static final String[] OPERATIONS = {
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "std",
    "last",
    "approx_distinct",
    "time_since_last",
    "last_k",
    "top_k",
    "most_frequent",
    "histogram",
    "distinct",
    "quantile",
    "frequency",
    "session_count",
    "session_length"
  };

  private record Value(long time, double value) {}

  private static WindowSpec spec(long sizeMs, long hopMs) {
    String[] features = new String[OPERATIONS.length];
    for (int i = 0; i < features.length; i++) {
      features[i] = Plans.feature(OPERATIONS[i], OPERATIONS[i], "x", sizeMs, hopMs);
    }
    Plan plan = Plan.parse(Plans.plan(Plans.view("v", "h", features)));
    List<Integer> places = IntStream.range(0, features.length).boxed().toList();
    return new WindowSpec(sizeMs, hopMs, plan.views().get(0).features(), places);
  }

  private static List<Value> stream(long seed, long hopMs) {
    Random random = new Random(seed);
    List<Value> values = new ArrayList<>();
    long clock = 0;
    for (int i = 0; i < EVENTS; i++) {
      clock += random.nextInt(20) == 0 ? random.nextLong(60 * hopMs) : random.nextLong(hopMs);
      long delay = random.nextInt(3) == 0 ? random.nextLong(50 * hopMs) : 0;
      double value = random.nextInt(4) == 0 ? random.nextInt(5) : random.nextGaussian() * 1000;
      values.add(new Value(clock - delay, value));
    }
    return values;
  }

  private static Object[] take(WindowSpec spec, Tiles tiles, Value value, long asOf) {
    tiles.advance(asOf);
    Object[] values = new Object[OPERATIONS.length];
    Arrays.fill(values, value.value);
    if (spec.contains(value.time, asOf)) {
      tiles.add(values, value.time);
    }
    Object[] features = new Object[OPERATIONS.length];
    CurrentEvent current = new CurrentEvent();
    current.time = value.time;
    current.asOf = asOf;
    tiles.results(current, values, features);
    return features;
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6})
  void valuesAreThoseOfANaiveRecomputation(long seed) {
    WindowSpec spec = spec(1_000, 17);
    Tiles tiles = new Tiles(spec);
    List<Value> seen = new ArrayList<>();
    long asOf = Long.MIN_VALUE;
    for (Value value : stream(seed, 17)) {
      asOf = Math.max(asOf, value.time);
      seen.add(value);
      Object[] got = take(spec, tiles, value, asOf);
      check(naive(spec, seen, asOf), got);
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {7, 8, 9})
  void restoredTilesAndCopiesContinueBitForBit(long seed) throws IOException {
    WindowSpec spec = spec(1_000, 17);
    Random random = new Random(seed);
    Tiles straight = new Tiles(spec);
    Tiles interrupted = new Tiles(spec);
    long asOf = Long.MIN_VALUE;
    for (Value value : stream(seed, 17)) {
      asOf = Math.max(asOf, value.time);
      Object[] expected = take(spec, straight, value, asOf);
      assertArrayEquals(expected, take(spec, interrupted, value, asOf));
      switch (random.nextInt(5)) {
        case 0 -> interrupted = written(spec, interrupted);
        case 1 -> interrupted = interrupted.copy();
        default -> {}
      }
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {7, 8, 9})
  void tilesWithoutEventsOlderThanTheWindowHaveTheSameBits(long seed) {
    WindowSpec spec = spec(1_000, 17);
    Tiles whole = new Tiles(spec);
    List<Value> stream = stream(seed, 17);
    for (int number = 0; number < stream.size(); number++) {
      long asOf = stream.subList(0, number + 1).stream().mapToLong(Value::time).max().getAsLong();
      Object[] expected = take(spec, whole, stream.get(number), asOf);
      if (number % 97 != 0) {
        continue;
      }
      Tiles late = new Tiles(spec);
      Object[] got = null;
      long seen = Long.MIN_VALUE;
      for (Value value : stream.subList(0, number + 1)) {
        if (value.time > asOf - 1_000 - 17) {
          seen = Math.max(seen, value.time);
          got = take(spec, late, value, seen);
        }
      }
      if (stream.get(number).time > asOf - 1_000 - 17) {
        assertArrayEquals(expected, got);
      }
    }
  }

  /** With tiles of few values, and of hundreds, which use sketches. */
  @ParameterizedTest
  @ValueSource(longs = {17, 17_000})
  void updatesOfACopyDoNotChangeTheOriginal(long hopMs) throws IOException {
    WindowSpec spec = spec(60 * hopMs, hopMs);
    Random random = new Random(11);
    Tiles kept = new Tiles(spec);
    Tiles tiles = kept.copy();
    byte[] before = bytes(kept);
    long asOf = Long.MIN_VALUE;
    for (Value value : stream(11, 17)) {
      asOf = Math.max(asOf, value.time);
      if (random.nextInt(20) == 0) {
        assertArrayEquals(before, bytes(kept), "what a snapshot is being written from has changed");
        kept = tiles;
        before = bytes(kept);
        tiles = tiles.copy();
      }
      take(spec, tiles, value, asOf);
    }
  }

  @Test
  void largeDistinctCountsStayWithinTheSketchsError() {
    WindowSpec spec = spec(1_000_000, 1_000);
    Tiles tiles = new Tiles(spec);
    Object[] got = null;
    for (int i = 0; i < 50_000; i++) {
      got = take(spec, tiles, new Value(i * 10L, i), i * 10L);
    }
    long estimate = (Long) got[7];
    assertEquals(50_000, estimate, 50_000 * 0.08);
  }

  @Test
  void largeValuesThatCancelOutLeaveTheSmallOnes() {
    WindowSpec spec = spec(1_000, 17);
    Tiles tiles = new Tiles(spec);
    take(spec, tiles, new Value(0, 1e17), 0);
    take(spec, tiles, new Value(20, 1.0), 20);
    Object[] got = take(spec, tiles, new Value(40, -1e17), 40);
    assertEquals(1.0, got[1]);
  }

  private static Tiles written(WindowSpec spec, Tiles tiles) throws IOException {
    return Tiles.read(spec, new DataInputDeserializer(bytes(tiles)));
  }

  private static byte[] bytes(Tiles tiles) throws IOException {
    DataOutputSerializer out = new DataOutputSerializer(64);
    tiles.write(out);
    return out.getCopyOfBuffer();
  }

  private static Object[] naive(WindowSpec spec, List<Value> seen, long asOf) {
    List<Value> inside =
        seen.stream().filter(value -> spec.tile(value.time) >= spec.firstInside(asOf)).toList();
    if (inside.isEmpty()) {
      Object[] empty = new Object[OPERATIONS.length];
      empty[0] = empty[7] = empty[13] = empty[15] = empty[16] = 0L;
      empty[12] = List.of(0L, 0L, 0L);
      return empty;
    }
    double[] values = inside.stream().mapToDouble(Value::value).toArray();
    double sum = Arrays.stream(values).sum();
    double mean = sum / values.length;
    double squares = Arrays.stream(values).map(x -> (x - mean) * (x - mean)).sum();
    Value last = inside.get(0);
    for (Value value : inside) {
      last = value.time >= last.time ? value : last;
    }
    return new Object[] {
      (long) values.length,
      sum,
      mean,
      Arrays.stream(values).min().getAsDouble(),
      Arrays.stream(values).max().getAsDouble(),
      values.length < 2 ? null : Math.sqrt(squares / (values.length - 1)),
      last.value,
      Arrays.stream(values).distinct().count(),
      (asOf - last.time) / 1000.0,
      three(reversed(inside, Comparator.comparingLong(Value::time))),
      three(reversed(inside, Comparator.comparingDouble(Value::value))),
      inside.stream()
          .collect(Collectors.groupingBy(Value::value, TreeMap::new, Collectors.counting()))
          .entrySet()
          .stream()
          .sorted(Map.Entry.comparingByValue(Comparator.reverseOrder()))
          .limit(3)
          .map(Map.Entry::getKey)
          .toList(),
      List.of(between(values, -1e9, 0), between(values, 0, 3), between(values, 3, 1e9)),
      Arrays.stream(values).distinct().count(),
      Arrays.stream(values).sorted().toArray()[(values.length + 1) / 2 - 1],
      between(
          values, seen.get(seen.size() - 1).value, Math.nextUp(seen.get(seen.size() - 1).value)),
      (long) sessions(inside).size(),
      sessions(inside).get(sessions(inside).size() - 1) / 1000.0
    };
  }

  /** The length of each session, in order. */
  private static List<Long> sessions(List<Value> values) {
    long[] times = values.stream().mapToLong(Value::time).sorted().toArray();
    List<Long> lengths = new ArrayList<>();
    long begin = times[0];
    for (int i = 1; i <= times.length; i++) {
      if (i == times.length || times[i] - times[i - 1] > 20) {
        lengths.add(times[i - 1] - begin);
        begin = i == times.length ? begin : times[i];
      }
    }
    return lengths;
  }

  private static List<Value> reversed(List<Value> values, Comparator<Value> order) {
    List<Value> sorted = new ArrayList<>(values);
    sorted.sort(order);
    Collections.reverse(sorted);
    return sorted;
  }

  private static List<Double> three(List<Value> values) {
    return values.stream().limit(3).map(Value::value).toList();
  }

  private static long between(double[] values, double from, double to) {
    return Arrays.stream(values).filter(value -> from <= value && value < to).count();
  }

  private static void check(Object[] expected, Object[] got) {
    for (int i = 0; i < expected.length; i++) {
      boolean summed = i == 1 || i == 2 || i == 5;
      if (summed && expected[i] != null) {
        assertEquals((Double) expected[i], (Double) got[i], 1e-9 * 1e5, OPERATIONS[i]);
      } else {
        assertEquals(expected[i], got[i], OPERATIONS[i]);
      }
    }
  }
}
