package org.apache.datasketches.kll;

import java.util.SplittableRandom;

/**
 * KLL sketches that the same values, in the same order, always give the same bits. The library
 * tosses a coin for every compaction, of one generator for all sketches of a process, which has no
 * public way to seed it: this class is a neighbour of it in order to do so. Before whatever may
 * toss a coin the generator begins anew from what the sketches hold, one thread at a time.
 */
public final class DeterministicKll {
  private DeterministicKll() {}

  /**
   * Takes a value into the sketch.
   *
   * @param salt of the value's own, so that sketches that are as full as each other do not toss the
   *     same coins: their errors would not even out when they are merged
   */
  public static void update(KllDoublesSketch sketch, double value, long salt) {
    // With room left nothing is compacted and no coin is tossed.
    if (sketch.levelsArr[0] > 0) {
      sketch.update(value);
      return;
    }
    synchronized (KllSketch.random) {
      seed(salt, sketch.getN());
      sketch.update(value);
    }
  }

  /** Merges the other sketch, which stays as it is, into this one. */
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
