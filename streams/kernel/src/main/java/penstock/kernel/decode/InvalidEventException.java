package penstock.kernel.decode;

/**
 * Why an event is a dead letter. The message names fields and rules, never a value of the event.
 */
public final class InvalidEventException extends Exception {
  private static final long serialVersionUID = 1;

  /** The reasons, by the names that dead letters carry; and the stage at which each is found. */
  public enum Reason {
    TOMBSTONE("penstock.Tombstone", "decode"),
    TOO_LARGE("penstock.TooLarge", "decode"),
    UNDECODABLE("penstock.Undecodable", "decode"),
    UNKNOWN_SCHEMA("penstock.UnknownSchema", "decode"),
    INVALID_FIELD("penstock.InvalidField", "validate"),
    FUTURE_EVENT("penstock.FutureEvent", "validate");

    /** The class of the reason, as dead letters name it. */
    public final String label;

    /** What was being done when the event was refused. */
    public final String stage;

    Reason(String label, String stage) {
      this.label = label;
      this.stage = stage;
    }
  }

  /** The class of the reason. */
  public final Reason reason;

  /** Refuses the event; cheap, as bad input may come in any amount. */
  public InvalidEventException(Reason reason, String message) {
    super(message, null, false, false);
    this.reason = reason;
  }
}
