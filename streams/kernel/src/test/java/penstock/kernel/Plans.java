package penstock.kernel;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.operators.KeyedProcessOperator;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.ColumnType;
import penstock.kernel.plan.Plan;
import penstock.kernel.stage.EntityKeySelector;
import penstock.kernel.stage.WriteBackFunction;

/**
 * Plans and events of the tests: a source with columns id, time, k and x, and one entity with key
 * k.
 */
public final class Plans {
  private Plans() {}

  /**
   * A feature over column x (a double) or rows. Lists have three values, histograms three buckets.
   */
  public static String feature(
      String name, String operation, String column, long windowMs, long hopMs) {
    String type =
        switch (operation) {
          case "count", "approx_distinct", "distinct", "frequency", "session_count" -> "long";
          case "last_k", "top_k", "most_frequent" -> "double[]";
          case "histogram" -> "long[]";
          default -> "double";
        };
    return """
        {"name": "%s", "operation": "%s", "column": %s, "column_type": %s, "where": null,
         "window_ms": %d, "hop_ms": %d, "type": "%s", "k": 3, "buckets": [0, 3],
         "q": 0.5, "bound": 1000, "gap_ms": 20}"""
        .formatted(
            name,
            operation,
            column == null ? "null" : "\"" + column + "\"",
            column == null ? "null" : "\"double\"",
            windowMs,
            hopMs,
            type);
  }

  /** A view of entity e. */
  public static String view(String name, String hash, String... features) {
    return """
        {"name": "%s", "version": 1, "entity": "e", "key": "k", "key_type": "string", "hash": "%s", "features": [%s]}"""
        .formatted(name, hash, String.join(",", features));
  }

  /** A plan with these views. */
  public static String plan(String... views) {
    return """
        {"pipeline": "p", "derived": [], "filters": [], "passthrough": [["x", "double"]], "features_topic": "features.p",
         "source": {"topic": "events", "dead_letter_topic": "events.dlq", "partitions": 1, "contract": "c",
           "contract_version": 1, "event_id": "id", "event_time": "time", "key": "k", "dedup_horizon_ms": 1000,
           "max_future_ms": 60000, "max_bytes": 1000,
           "fields": [{"name": "id", "type": "string", "required": true}, {"name": "time", "type": "long", "required": true},
             {"name": "k", "type": "string", "required": false, "nullable": true},
             {"name": "x", "type": "double", "required": false, "nullable": true}]},
         "stages": [{"entity": "e", "key": "k", "key_type": "string", "views": [%s]}]}"""
        .formatted(Arrays.stream(views).collect(Collectors.joining(",")));
  }

  /** The same plan with a second source, number 1, whose events give no records. */
  public static String withUpdates(String planJson) {
    String source =
        """
        "additional_sources": [{"topic": "clicks", "dead_letter_topic": "clicks.dlq", "partitions": 1,
          "contract": "d", "contract_version": 1, "event_id": "id", "event_time": "time", "key": "k",
          "dedup_horizon_ms": 1000, "max_future_ms": 60000, "max_bytes": 1000, "triggers": false,
          "fields": [{"name": "id", "type": "string", "required": true}, {"name": "time", "type": "long", "required": true},
            {"name": "k", "type": "string", "required": false, "nullable": true}]}],
        """;
    return planJson.replace("\"stages\":", source + "\"stages\":");
  }

  /** The Avro schema of the plan's feature records. */
  public static String schema(Plan plan) {
    String views =
        plan.views().stream()
            .map(
                view ->
                    """
                    {"name": "%s", "default": null, "type": ["null", {"type": "record", "name": "%s_v1", "fields": [
                      {"name": "entity", "type": "string"}, {"name": "epoch", "type": "long"},
                      {"name": "seq", "type": "long"}, {"name": "as_of", "type": "long"},
                      {"name": "late", "type": "boolean"}%s]}]}"""
                        .formatted(view.name(), view.name(), features(view)))
            .collect(Collectors.joining(","));
    return """
        {"type": "record", "name": "Features", "namespace": "penstock.p", "fields": [
          {"name": "event_id", "type": "string"}, {"name": "event_time", "type": "long"},
          {"name": "trigger", "type": "string"}, {"name": "attempt", "type": "long"},
          {"name": "source", "type": {"type": "record", "name": "Source", "fields": [
            {"name": "topic", "type": "string"}, {"name": "partition", "type": "int"},
            {"name": "offset", "type": "long"}, {"name": "timestamp", "type": "long"}]}},
          {"name": "event", "type": {"type": "record", "name": "Event", "fields": [
            {"name": "x", "type": ["null", "double"]}]}}, %s]}"""
        .formatted(views);
  }

  private static String features(Plan.View view) {
    return view.features().stream()
        .map(
            feature -> {
              String element = feature.type().element().name().toLowerCase(Locale.ROOT);
              String type =
                  feature.type().isList()
                      ? "{\"type\": \"array\", \"items\": \"%s\"}".formatted(element)
                      : "\"%s\"".formatted(element);
              boolean counts = feature.type().element() == ColumnType.LONG;
              return ", {\"name\": \"%s\", \"type\": %s}"
                  .formatted(feature.name(), counts ? type : "[\"null\", %s]".formatted(type));
            })
        .collect(Collectors.joining());
  }

  /** An event of the plan. */
  public static Event event(Plan plan, String id, long time, String key, Double x) {
    ColumnLayout layout = ColumnLayout.needed(plan);
    Event event = new Event();
    event.id = id;
    event.time = time;
    event.key = new byte[] {1};
    event.timestamp = time;
    event.columns = new Object[layout.size()];
    List<String> names = layout.names();
    for (int i = 0; i < names.size(); i++) {
      event.columns[i] =
          switch (names.get(i)) {
            case "k" -> key;
            case "x" -> x;
            default -> null;
          };
    }
    event.views = new ViewValues[plan.views().size()];
    return event;
  }

  /** The messages of an exception and its causes. */
  public static String messages(Throwable thrown) {
    StringBuilder text = new StringBuilder();
    for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
      text.append(cause.getMessage()).append("; ");
    }
    return text.toString();
  }

  /** An open harness of a keyed function. It restores {@code state}, which may be null. */
  public static KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness(
      KeyedProcessFunction<String, Event, Event> function,
      String planJson,
      OperatorSubtaskState state,
      int maxTasks,
      int tasks,
      int task)
      throws Exception {
    Plan plan = Plan.parse(planJson);
    var harness =
        new KeyedOneInputStreamOperatorTestHarness<>(
            function instanceof WriteBackFunction writing
                ? writing.operator()
                : new KeyedProcessOperator<>(function),
            new EntityKeySelector(EntityKey.of(plan, ColumnLayout.needed(plan), "k")),
            Types.STRING,
            maxTasks,
            tasks,
            task);
    harness.setup(new EventSerializer(planJson, false));
    if (state != null) {
      harness.initializeState(state);
    }
    harness.open();
    return harness;
  }
}
