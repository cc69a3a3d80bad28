package penstock.kernel.window;

/** The current event, as one aggregate sees it. */
final class CurrentEvent {
  /** Its event time, epoch ms; it may be late. */
  long time;

  /** The time as of which the window is computed, epoch ms. */
  long asOf;

  /** Its value for the aggregate; null if the event does not count. */
  Object value;

  /** Seconds from {@code time} to {@code asOf}. */
  double secondsSince(long time) {
    return Times.between(time, asOf) / 1000.0;
  }
}
