package penstock.kernel.graph;

import java.util.List;
import java.util.Map;
import penstock.kernel.fill.Fill;
import penstock.kernel.plan.Json;
import penstock.kernel.replay.Replay;

/**
 * What to run, as requested by {@code streams/flink/job_graph.py}.
 *
 * @param plan the plan as JSON
 * @param featuresSchema the Avro schema of its feature records
 * @param writers per source, the Avro schemas that its producers may write with
 * @param registryUrl of a Confluent schema registry, or null
 * @param group the consumer group
 * @param submissionMs when the job was submitted, epoch ms
 * @param waitMs how long an event may wait in the raw topic
 * @param starts per source, where to begin; of a live job
 * @param skipDeleted whether a live job goes on where records were deleted before it read them
 * @param exactlyOnce whether features are published in Kafka transactions, one per checkpoint
 * @param unpublishedTopic for the letters of feature records that are too long
 * @param limits the longest records that it publishes
 * @param replay the part of the raw topics that a backfill replays; null in a live job
 * @param fill what makes the replay fill views of a running pipeline; null in any other job
 */
public record JobRequest(
    String plan,
    String featuresSchema,
    List<List<String>> writers,
    String registryUrl,
    String group,
    long submissionMs,
    long waitMs,
    List<Start> starts,
    boolean skipDeleted,
    boolean exactlyOnce,
    String unpublishedTopic,
    Limits limits,
    Replay replay,
    Fill fill) {
  /**
   * Bytes of the longest record that is published to each topic: what the topic takes, or what a
   * producer takes if that is less.
   *
   * @param features the features topic
   * @param deadLetters per source, its dead-letter topic
   * @param unpublished the topic of the letters of feature records
   */
  public record Limits(long features, List<Long> deadLetters, long unpublished) {
    /** Takes what the topics take. */
    public Limits {
      features = published(features);
      deadLetters = deadLetters.stream().map(Limits::published).toList();
      unpublished = published(unpublished);
    }

    private static long published(long taken) {
      return Math.min(taken, KafkaConnectors.MAX_RECORD_BYTES);
    }
  }

  /**
   * Where a live job begins to read a source.
   *
   * @param first per partition, the first offset of a job without state; -2 is the earliest
   * @param earliest per partition, the first offset that the topic still has
   */
  public record Start(Map<Integer, Long> first, Map<Integer, Long> earliest) {}

  static JobRequest parse(String json) {
    return Json.parse(json, JobRequest.class, "request");
  }
}
