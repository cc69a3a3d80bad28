package penstock.kernel.decode;

/** The earliest event time, and what a number in another unit looks like. */
final class EventTimes {
  /** 2000-01-01: the earliest event time, unless the contract gives the field a minimum. */
  static final long EARLIEST_MS = 946_684_800_000L;

  private static final long CENTURY_ENDS_MS = 4_102_444_800_000L;

  private EventTimes() {}

  /**
   * How an error goes on about a number that is no time in milliseconds of this century, but is one
   * in another unit.
   */
  static String looksLike(long time) {
    if (time >= EARLIEST_MS / 1_000 && time < CENTURY_ENDS_MS / 1_000) {
      return "; it looks like seconds, not milliseconds";
    }
    if (isInCentury(time / 1_000)) {
      return "; it looks like microseconds, not milliseconds";
    }
    if (isInCentury(time / 1_000_000)) {
      return "; it looks like nanoseconds, not milliseconds";
    }
    return "";
  }

  private static boolean isInCentury(long time) {
    return time >= EARLIEST_MS && time < CENTURY_ENDS_MS;
  }
}
