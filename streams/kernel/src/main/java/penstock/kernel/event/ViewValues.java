package penstock.kernel.event;

/**
 * One view's part of a feature record.
 *
 * @param entity who
 * @param epoch start of the job without state that this sequence belongs to, epoch ms
 * @param seq number of this emission within the epoch, from 1
 * @param asOf the event time at which the features are known, epoch ms
 * @param late whether the event was older than every window of the view
 * @param features in the order of the view; null where the window is empty
 */
public record ViewValues(
    String entity, long epoch, long seq, long asOf, boolean late, Object[] features) {}
