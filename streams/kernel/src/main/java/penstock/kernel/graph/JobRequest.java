package penstock.kernel.graph;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.PropertyNamingStrategies;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.util.List;
import penstock.kernel.replay.Replay;

/**
 * What to run, as {@code streams/job.py} asks for it.
 *
 * @param plan the plan's JSON text
 * @param featuresSchema the Avro schema of its feature records, as text
 * @param writers of each source, the Avro schemas that its producers may have written with, as
 *     texts
 * @param registryUrl of a Confluent schema registry, or null
 * @param group the consumer group
 * @param submissionMs when the job was submitted, epoch ms
 * @param waitMs how long an event may wait in the raw topic
 * @param exactlyOnce whether features are published in Kafka transactions, at each checkpoint
 * @param replay the bounded part of the raw topic that a backfill replays; null in a live job
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
  private static final ObjectMapper MAPPER =
      JsonMapper.builder()
          .propertyNamingStrategy(PropertyNamingStrategies.SNAKE_CASE)
          .configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false)
          .build();

  static JobRequest parse(String json) {
    try {
      return MAPPER.readValue(json, JobRequest.class);
    } catch (JsonProcessingException error) {
      throw new IllegalArgumentException("not a request: " + error.getMessage(), error);
    }
  }
}
