package penstock.kernel.window;

/** The event that asks for results, as one aggregate sees it. */
final class CurrentEvent {
  /** The event's own time, epoch ms; it may be late. */
  long time;

  /** What the window is computed as of, epoch ms. */
  long asOf;

  /** The event's value for the aggregate, null if it does not count for it. */
  Object value;

  /** Seconds from {@code time} to the current's {@code as_of}. */
  double secondsSince(long time) {
    return (asOf - time) / 1000.0;
  }
}
