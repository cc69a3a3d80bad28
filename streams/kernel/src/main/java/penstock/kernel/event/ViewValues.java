package penstock.kernel.event;

import java.util.List;

/**
 * One view's part of a feature record.
 *
 * @param entity the entity's key
 * @param epoch start of the epoch that {@code seq} counts in, epoch ms; see
 *     docs/concepts/semantics.md
 * @param seq number of this emission within the epoch, from 1
 * @param asOf the event time as of which the features are computed, epoch ms
 * @param late whether the event was older than every window of the view
 * @param features in the view's order; null where the window is empty
 * @param updates the events since the view's last record of the entity that updated it and gave no
 *     record, in the order in which the view saw them; null if there were too many to keep
 */
public record ViewValues(
    String entity,
    long epoch,
    long seq,
    long asOf,
    boolean late,
    Object[] features,
    List<EventPosition> updates) {

  /** Without updating events. */
  public ViewValues(
      String entity, long epoch, long seq, long asOf, boolean late, Object[] features) {
    this(entity, epoch, seq, asOf, late, features, List.of());
  }
}
