package penstock.kernel.replay;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * What makes a job a backfill: a bounded part of the raw topics, and the rows that are wanted.
 *
 * @param topic where the features go, instead of the pipeline's topic
 * @param start of the source whose events give rows, as {@link Offsets}
 * @param end the same
 * @param also what to read of each further source, in the plan's order
 * @param fromMs event time from which on rows are published; events before it warm the windows
 * @param toMs event time before which rows are published
 * @param maxAheadMs how far, by Kafka's timestamps, a partition may be read ahead of the others
 */
public record Replay(
    String topic,
    Map<Integer, Long> start,
    Map<Integer, Long> end,
    List<Offsets> also,
    long fromMs,
    long toMs,
    long maxAheadMs)
    implements Serializable {

  /**
   * A bounded part of a topic.
   *
   * @param start the first offset to read of each partition; one that is not named is not read
   * @param end the offset before which reading ends, of the same partitions
   */
  public record Offsets(Map<Integer, Long> start, Map<Integer, Long> end) implements Serializable {}

  /** What to read of each source, in the plan's order. */
  public List<Offsets> sources() {
    List<Offsets> sources = new ArrayList<>(List.of(new Offsets(start, end)));
    sources.addAll(also);
    return sources;
  }

  /** Whether an event's row is published. */
  public boolean wants(long eventTime) {
    return eventTime >= fromMs && eventTime < toMs;
  }
}
