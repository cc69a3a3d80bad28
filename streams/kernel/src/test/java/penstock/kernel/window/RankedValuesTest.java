package penstock.kernel.window;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Numbers by rank: exact while few, reproducible bit for bit, with a bounded error after merges.
 */
class RankedValuesTest {
  @ParameterizedTest
  @ValueSource(ints = {1, 48, 49, 96, 97, 200})
  void upToTwoHundredNumbersAreExactHoweverTheyAreMerged(int count) {
    double[] values = values(1, count);
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    for (int parts : new int[] {1, 2, 7}) {
      RankedValues stored = merged(values, parts, 0);
      for (int rank = 1; rank <= count; rank++) {
        assertEquals(sorted[rank - 1], stored.quantile((rank - 0.5) / count), 0.0);
      }
    }
  }

  @Test
  void aRankIsWithinTheErrorAfterManyMerges() {
    double[] values = values(2, 100_000);
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    RankedValues stored = merged(values, 60, 0);
    assertEquals(100_000, stored.count());
    for (double q = 0.01; q < 1; q += 0.01) {
      double rank = Arrays.binarySearch(sorted, stored.quantile(q)) / 100_000.0;
      assertEquals(q, rank, 0.027);
    }
  }

  /** Tiles of the same values must not all err in the same direction. */
  @Test
  void tilesOfTheSameValuesDoNotAddUpTheirErrors() {
    double[] values = values(3, 2_000);
    double[] again = new double[60 * values.length];
    for (int i = 0; i < again.length; i++) {
      again[i] = values[i % values.length];
    }
    Arrays.sort(values);
    RankedValues stored = merged(again, 60, 0);
    for (double q = 0.05; q < 1; q += 0.05) {
      double rank = Arrays.binarySearch(values, stored.quantile(q)) / 2_000.0;
      assertEquals(q, rank, 0.0133);
    }
  }

  @Test
  void restoredValuesContinueBitForBit() {
    double[] values = values(4, 20_000);
    RankedValues kept = RankedValues.of(values[0]);
    RankedValues restored = kept;
    for (int i = 1; i < values.length; i++) {
      kept = kept.plus(values[i], i);
      restored = restored.plus(values[i], i);
      if (i % 101 == 0) {
        restored = RankedValues.fromBytes(restored.toBytes());
        assertArrayEquals(kept.toBytes(), restored.toBytes());
      }
    }
  }

  @Test
  void aQueryChangesNothing() {
    double[] values = values(5, 5_000);
    RankedValues asked = RankedValues.of(values[0]);
    RankedValues left = asked;
    for (int i = 1; i < values.length; i++) {
      asked = asked.plus(values[i], i);
      left = left.plus(values[i], i);
      asked.quantile(0.5);
    }
    assertArrayEquals(left.toBytes(), asked.toBytes());
  }

  @Test
  void sketchesDoNotDependOnOtherThreads() throws Exception {
    double[] values = values(6, 30_000);
    byte[] expected = merged(values, 30, 0).toBytes();
    ExecutorService threads = Executors.newFixedThreadPool(3);
    try {
      List<Future<byte[]>> found = new ArrayList<>();
      for (int i = 0; i < 9; i++) {
        found.add(threads.submit((Callable<byte[]>) () -> merged(values, 30, 0).toBytes()));
      }
      for (Future<byte[]> bytes : found) {
        assertArrayEquals(expected, bytes.get());
      }
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  void anotherSaltGivesOtherCompactions() {
    double[] values = values(7, 5_000);
    int different = 0;
    byte[] first = merged(values, 1, 0).toBytes();
    for (int salt = 1; salt <= 10; salt++) {
      different += Arrays.equals(first, merged(values, 1, salt).toBytes()) ? 0 : 1;
    }
    assertTrue(different >= 9, different + " of 10 differ");
  }

  /** The values in {@code parts} tiles, merged from the oldest on. */
  private static RankedValues merged(double[] values, int parts, long startMs) {
    RankedValues all = null;
    int perPart = (values.length + parts - 1) / parts;
    for (int from = 0; from < values.length; from += perPart) {
      RankedValues tile = null;
      for (int i = from; i < Math.min(from + perPart, values.length); i++) {
        tile = tile == null ? RankedValues.of(values[i]) : tile.plus(values[i], startMs + i);
      }
      all = all == null ? tile : all.merge(tile);
    }
    return all;
  }

  private static double[] values(long seed, int count) {
    return new Random(seed).doubles(count, -1e6, 1e6).toArray();
  }
}
