package penstock.kernel.graph;

import java.util.List;
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
 * @param exactlyOnce whether features are published in Kafka transactions, one per checkpoint
 * @param replay the part of the raw topics that a backfill replays; null in a live job
 */
public record JobRequest(
    String plan,
    String featuresSchema,
    List<List<String>> writers,
    String registryUrl,
    String group,
    long submissionMs,
    long waitMs,
    boolean exactlyOnce,
    Replay replay) {

  static JobRequest parse(String json) {
    return Json.parse(json, JobRequest.class, "request");
  }
}
