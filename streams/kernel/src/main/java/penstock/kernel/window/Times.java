package penstock.kernel.window;

/** Arithmetic of event times that is right for any two 64-bit times. */
final class Times {
  private Times() {}

  /** The milliseconds from {@code time} to {@code later}, which may be more than a long holds. */
  static double between(long time, long later) {
    long ms = later - time;
    // An unsigned number, rounded once: the last bit is kept for the rounding.
    return ms >= 0 ? ms : (ms >>> 1 | ms & 1) * 2.0;
  }

  /** Whether {@code later} is at most {@code ms} after {@code time}, which is not after it. */
  static boolean isWithin(long time, long later, long ms) {
    return Long.compareUnsigned(later - time, ms) <= 0;
  }
}
