package penstock.kernel.replay;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * What makes a job a backfill: bounded parts of the raw topics, and the range of event times to
 * publish.
 *
 * @param topic the topic of the features, instead of the pipeline's
 * @param start of the main source; see {@link Offsets}
 * @param end of the main source; see {@link Offsets}
 * @param additionalSources the offsets of each further source, in the plan's order
 * @param fromMs event time of the first records to publish; earlier events only fill the windows
 * @param toMs event time at which publishing ends, exclusive
 * @param maxAheadMs how far, by Kafka timestamps, a partition may be read ahead of the others
 * @param maxPerS how many records to replay in a second at most; 0: as many as possible
 * @param parallelism the number of tasks of each stage; a single one puts the events in order
 * @param lookups the offsets of each topic of reference data, in the plan's order
 * @param restored per source, in the plan's order, the topic that has copies of the records to
 *     read; empty: they are read from the sources' own topics
 */
public record Replay(
    String topic,
    Map<Integer, Long> start,
    Map<Integer, Long> end,
    List<Offsets> additionalSources,
    List<Offsets> lookups,
    long fromMs,
    long toMs,
    long maxAheadMs,
    long maxPerS,
    int parallelism,
    List<Restored> restored)
    implements Serializable {

  /** A request may lack lookups; there are none then. */
  public Replay {
    lookups = lookups == null ? List.of() : lookups;
  }

  /**
   * A bounded part of a topic.
   *
   * @param start the first offset to read, per partition; other partitions are not read
   * @param end the offset at which to stop, exclusive, for the same partitions
   */
  public record Offsets(Map<Integer, Long> start, Map<Integer, Long> end) implements Serializable {}

  /**
   * Copies of the records of a source.
   *
   * @param topic the topic that has them
   * @param start the first offset of the copies to read, per partition
   * @param end the offset at which to stop, exclusive, for the same partitions
   */
  public record Restored(String topic, Map<Integer, Long> start, Map<Integer, Long> end)
      implements Serializable {}

  /** The offsets of all sources, in the plan's order. */
  public List<Offsets> sources() {
    List<Offsets> sources = new ArrayList<>(List.of(new Offsets(start, end)));
    sources.addAll(additionalSources);
    return sources;
  }

  /** Whether the record of an event is published. */
  public boolean includes(long eventTime) {
    return eventTime >= fromMs && eventTime < toMs;
  }
}
