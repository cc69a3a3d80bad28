package penstock.kernel.window;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.plan.Plan;

/** Which aggregates share an accumulator. */
class WindowSpecTest {
  private static WindowSpec spec(String... features) {
    Plan plan = Plan.parse(Plans.plan(Plans.view("v", "h", features)));
    return new WindowSpec(
        1_000,
        10,
        plan.views().get(0).features(),
        IntStream.range(0, features.length).boxed().toList());
  }

  private static String over(String column, String operation) {
    return Plans.feature(operation + column, operation, column, 1_000, 10);
  }

  @Test
  void aggregatesOfOneAlgebraAndColumnShareAnAccumulatorWhicheverComesFirst() {
    WindowSpec spec = spec(over("x", "count"), over("x", "mean"), over("x", "sum"));
    assertEquals(1, spec.accumulators.length);
    assertEquals(3, spec.numbers);
  }

  @Test
  void mostFrequentWithAnotherKSharesTheAccumulator() {
    String three = over("x", "most_frequent");
    assertEquals(1, spec(three, three.replace("\"k\": 3", "\"k\": 9")).objects);
  }

  @Test
  void aggregatesOfAnotherColumnHaveTheirOwn() {
    WindowSpec spec = spec(over("x", "sum"), over(null, "count"), over("y", "sum"));
    assertEquals(3, spec.accumulators.length);
    assertEquals(7, spec.numbers);
  }

  @Test
  void theSixOfAUsualViewTakeNineNumbers() {
    assertEquals(
        9,
        spec(
                over(null, "count"),
                over("x", "sum"),
                over("x", "mean"),
                over("x", "min"),
                over("x", "max"),
                over("x", "std"))
            .numbers);
  }

  @Test
  void eachAccumulatorTakesTheValueOfAnAggregateOfItsColumn() {
    WindowSpec spec = spec(over(null, "count"), over("x", "mean"), over("x", "sum"));
    assertEquals(List.of(1, 0), IntStream.of(spec.accumulating).boxed().toList());
  }

  @Test
  void aLifetimeHoldsAllTimesFromAnyTime() {
    WindowSpec spec = new WindowSpec(1L << 62, 1L << 61, List.of(), List.of());
    long[] times = {Long.MIN_VALUE, -(1L << 61), -1, 0, 1_700_000_000_000L, Long.MAX_VALUE};
    for (long asOf : times) {
      for (long time : times) {
        assertTrue(time > asOf || spec.contains(time, asOf), time + " as of " + asOf);
      }
      assertEquals(Long.MAX_VALUE, spec.expiresAt(spec.tile(asOf)));
    }
  }

  @Test
  void anEventOfTheLeastTimeLeavesAWindowThatBeginsBeforeAllTimes() {
    WindowSpec spec = new WindowSpec(12_003, 1_000, List.of(), List.of());
    long time = Long.MIN_VALUE + 1;
    assertTrue(spec.contains(time, time + 11_000));
    assertFalse(spec.contains(time, time + 12_000));
    assertTrue(new WindowSpec(100, 1, List.of(), List.of()).contains(time, time + 1));
  }

  @Test
  void theLeastTileIsInsideAWindowThatBeginsBeforeAllTiles() {
    WindowSpec spec = new WindowSpec(100, 1, List.of(), List.of());
    assertTrue(spec.tile(Long.MIN_VALUE) >= spec.firstInside(Long.MIN_VALUE + 99));
    assertTrue(spec.tile(Long.MIN_VALUE) < spec.firstInside(Long.MIN_VALUE + 100));
  }

  @Test
  void aTileOfAnyTimeExpiresWhenItsBeginningHasLeftTheWindow() {
    WindowSpec spec = new WindowSpec(10_000, 1_000, List.of(), List.of());
    assertEquals(-990_000, spec.expiresAt(spec.tile(-1_000_000)));
    assertEquals(
        Math.multiplyExact(Math.floorDiv(Long.MIN_VALUE, 1_000L) + 1, 1_000L) + 9_000,
        spec.expiresAt(spec.tile(Long.MIN_VALUE)));
    assertEquals(Long.MAX_VALUE, spec.expiresAt(spec.tile(Long.MAX_VALUE)));
  }
}
