package penstock.kernel.decode;

/**
 * Why a record becomes a dead letter. The message names fields and rules, and never quotes a value
 * of the event.
 */
public final class InvalidEventException extends Exception {
  private static final long serialVersionUID = 1;

  /** Why a record is a dead letter. */
  public enum Reason {
    TOMBSTONE("penstock.Tombstone", "decode"),
    TOO_LARGE("penstock.TooLarge", "decode"),
    UNDECODABLE("penstock.Undecodable", "decode"),
    UNKNOWN_SCHEMA("penstock.UnknownSchema", "decode"),
    INVALID_FIELD("penstock.InvalidField", "validate"),
    FUTURE_EVENT("penstock.FutureEvent", "validate"),
    FEATURES_TOO_LARGE("penstock.FeaturesTooLarge", "encode");

    /** The reason's name in dead letters. */
    public final String label;

    /** The step that found the fault, as named in dead letters. */
    public final String stage;

    Reason(String label, String stage) {
      this.label = label;
      this.stage = stage;
    }
  }

  public final Reason reason;

  /** Creates the exception without a stack trace, as there may be many invalid events. */
  public InvalidEventException(Reason reason, String message) {
    super(message, null, false, false);
    this.reason = reason;
  }
}
