package penstock.kernel.replay;

import java.io.Serializable;
import java.util.Map;

/**
 * What makes a job a backfill: a bounded part of the raw topic, and the rows that are wanted of it.
 *
 * @param topic where the features go, instead of the pipeline's topic
 * @param start the first offset to read of each partition; one that is not named is not read
 * @param end the offset before which reading ends, of the same partitions
 * @param fromMs event time from which on rows are published; events before it warm the windows
 * @param toMs event time before which rows are published
 * @param maxAheadMs how far, by Kafka's timestamps, a partition may be read ahead of the others
 */
public record Replay(
    String topic,
    Map<Integer, Long> start,
    Map<Integer, Long> end,
    long fromMs,
    long toMs,
    long maxAheadMs)
    implements Serializable {

  /** Whether an event's row is published. */
  public boolean wants(long eventTime) {
    return eventTime >= fromMs && eventTime < toMs;
  }
}
