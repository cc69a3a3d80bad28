package org.apache.datasketches.kll;

import java.util.SplittableRandom;

/**
 * KLL sketches that depend only on the values and their order. The library decides each compaction
 * with one random generator for the whole process and offers no public way to seed it. This class
 * is in the library's package to seed the generator from the sketch's content before each
 * compaction, one thread at a time.
 */
public final class DeterministicKll {
  private DeterministicKll() {}

  /**
   * Adds a value to the sketch.
   *
   * @param salt differs between values, so that equally full sketches make different random
   *     choices. Otherwise their errors would add up when they are merged.
   */
  public static void update(KllDoublesSketch sketch, double value, long salt) {
    // While there is room, nothing is compacted and no random bit is drawn.
    if (sketch.levelsArr[0] > 0) {
      sketch.update(value);
      return;
    }
    synchronized (KllSketch.random) {
      seed(salt, sketch.getN());
      sketch.update(value);
    }
  }

  /** Merges {@code other}, which does not change, into {@code sketch}. */
  public static void merge(KllDoublesSketch sketch, KllDoublesSketch other) {
    synchronized (KllSketch.random) {
      seed(other.getN(), sketch.getN());
      sketch.merge(other);
    }
  }

  private static void seed(long salt, long count) {
    long first = new SplittableRandom(salt).nextLong();
    KllSketch.random.setSeed(new SplittableRandom(first ^ count).nextLong());
  }
}
