package penstock.kernel;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import penstock.kernel.decode.EventDecoder;
import penstock.kernel.decode.InvalidEventException;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.lookup.LookupTables;
import penstock.kernel.plan.ColumnType;
import penstock.kernel.plan.FeatureType;
import penstock.kernel.plan.Plan;
import penstock.kernel.stage.EntityKeySelector;
import penstock.kernel.stage.SeenIds;
import penstock.kernel.stage.SeenIdsSerializer;
import penstock.kernel.window.EntityState;
import penstock.kernel.window.EntityStateSerializer;
import penstock.kernel.window.Sketches;
import penstock.kernel.window.StageSpec;
import penstock.kernel.window.StateReport;

/**
 * The kernel without Flink's runtime, so that tests in other languages can compare results. Each
 * line of the input is a JSON request, each line of the output its answer.
 *
 * <ul>
 *   <li>{@code {"features": {"plan": …, "rows": [{column: value}], "snapshot_every": n}}}: the
 *       views of each row, null for a duplicate. A row has all columns, and the number of its
 *       source as {@code __source}. After every n rows the states are written and read back (0:
 *       never). With {@code "later": [ms]}, also the features that a timer would emit that long
 *       after each row's {@code as_of}.
 *   <li>{@code {"states": {"plan": …, "rows": […]}}}: the state after these rows. For each entity
 *       of each stage: its size in a snapshot, and per window its tiles with the result of every
 *       aggregate over that tile alone. Also the size of the de-duplication state.
 *   <li>{@code {"decode": {"plan": …, "writers": […], "key": base64, "records": [{"value": base64,
 *       "timestamp": ms, "headers": [name or [name, base64]]}], "registry": url, "clock": ms}}}:
 *       for each record its columns, why it is invalid, or that it is ignored. With {@code
 *       "lookup": n}, the records are those of its topic.
 *   <li>{@code {"lookups": {"plan": …, "writers": [[…]], "key": base64, "steps": [{"topic": n,
 *       "key": base64, "value": base64} or {"row": {column: value}}]}}}: for each row the columns
 *       that lookups give it, after the records before it.
 *   <li>{@code {"sketches": {"plan": …, "rows": [{column: value}]}}}: for each feature of the plan
 *       the sketch (base64) of its column's values in these rows, or null if it keeps none.
 * </ul>
 */
public final class Cli {
  // An event of a test may be as long as one of a topic.
  private static final ObjectMapper MAPPER =
      new ObjectMapper(
          JsonFactory.builder()
              .streamReadConstraints(
                  StreamReadConstraints.builder().maxStringLength(Integer.MAX_VALUE).build())
              .build());

  private Cli() {}

  /** Answers requests until the input ends. */
  public static void main(String[] arguments) throws Exception {
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      JsonNode request = MAPPER.readTree(line);
      JsonNode answer =
          request.has("features")
              ? features(request.get("features"), new ArrayList<>(), new ArrayList<>())
              : request.has("states")
                  ? states(request.get("states"))
                  : request.has("sketches")
                      ? sketches(request.get("sketches"))
                      : request.has("lookups")
                          ? lookups(request.get("lookups"))
                          : decode(request.get("decode"));
      out.println(MAPPER.writeValueAsString(answer));
      out.flush();
    }
  }

  /** Fills {@code stages} and {@code seenIds} with the state after the rows. */
  private static ArrayNode features(
      JsonNode request, List<StageRun> stages, List<Map<String, SeenIds>> seenIds)
      throws IOException {
    String planJson = MAPPER.writeValueAsString(request.get("plan"));
    Plan plan = Plan.parse(planJson);
    ColumnLayout layout = ColumnLayout.needed(plan);
    EntityKeySelector sourceKey =
        new EntityKeySelector(EntityKey.of(plan, layout, plan.source().key()));
    plan.sources().forEach(source -> seenIds.add(new HashMap<>()));
    for (Plan.Stage stage : plan.stages()) {
      stages.add(new StageRun(planJson, plan, stage));
    }
    List<Long> later = new ArrayList<>();
    request.path("later").forEach(ms -> later.add(ms.longValue()));
    int snapshotEvery = request.path("snapshot_every").asInt(0);
    ArrayNode answer = MAPPER.createArrayNode();
    int number = 0;
    for (JsonNode row : request.get("rows")) {
      Event event = event(plan, layout, row, number++);
      boolean isNew =
          !plan.sources().get(event.source).identifiesEvents()
              || seenIds
                  .get(plan.idsOf(event.source))
                  .computeIfAbsent(sourceKey.getKey(event), key -> new SeenIds())
                  .addIfNew(
                      event.id, event.time, plan.sources().get(event.source).dedupHorizonMs());
      if (isNew) {
        for (StageRun stage : stages) {
          stage.take(event);
        }
        ObjectNode views = views(plan, event);
        for (StageRun stage : stages) {
          stage.addLater(event, later, plan, views);
        }
        answer.add(views);
      } else {
        answer.addNull();
      }
      if (snapshotEvery > 0 && number % snapshotEvery == 0) {
        for (StageRun stage : stages) {
          stage.restore();
        }
      }
    }
    return answer;
  }

  private static ArrayNode sketches(JsonNode request) throws IOException {
    ArrayNode answer = MAPPER.createArrayNode();
    for (Plan.View view : Plan.parse(MAPPER.writeValueAsString(request.get("plan"))).views()) {
      for (Plan.Feature feature : view.features()) {
        List<Object> values = new ArrayList<>();
        for (JsonNode row : request.get("rows")) {
          Object value = value(row.get(feature.column()), feature.columnType());
          if (value instanceof List<?> elements) {
            values.addAll(elements);
          } else if (value != null) {
            values.add(value);
          }
        }
        answer.add(Sketches.of(feature, values));
      }
    }
    return answer;
  }

  private static ObjectNode states(JsonNode request) throws IOException {
    List<StageRun> stages = new ArrayList<>();
    List<Map<String, SeenIds>> seenIds = new ArrayList<>();
    features(request, stages, seenIds);
    ObjectNode answer = MAPPER.createObjectNode();
    DataOutputSerializer out = new DataOutputSerializer(256);
    for (Map<String, SeenIds> ofSource : seenIds) {
      for (SeenIds ids : ofSource.values()) {
        new SeenIdsSerializer().serialize(ids, out);
      }
    }
    answer.put("duplicates_bytes", out.length());
    ArrayNode entities = answer.putArray("entities");
    for (StageRun stage : stages) {
      stage.describe(entities);
    }
    return answer;
  }

  /** A stage with the states of its entities. */
  private static final class StageRun {
    private final Plan.Stage stage;
    private final EntityStateSerializer serializer;
    private final StageSpec spec;
    private final Map<String, EntityState> states = new HashMap<>();

    StageRun(String planJson, Plan plan, Plan.Stage stage) {
      this.stage = stage;
      this.serializer = new EntityStateSerializer(planJson, stage.entity());
      this.spec = StageSpec.of(plan, stage.entity());
    }

    void take(Event event) {
      String entity = spec.entity(event);
      if (entity != null) {
        spec.update(states.computeIfAbsent(entity, e -> spec.newState()), event, entity, v -> 1);
      }
    }

    void addLater(Event event, List<Long> later, Plan plan, ObjectNode views) {
      EntityState state = states.get(spec.entity(event));
      for (int i = 0; i < spec.views().length && state != null && !later.isEmpty(); i++) {
        ViewValues values = event.views[spec.viewIndex(i)];
        Plan.View view = plan.views().get(spec.viewIndex(i));
        ArrayNode answer = ((ObjectNode) views.get(view.name())).putArray("later");
        for (long ms : later) {
          Object[] features = spec.featuresAt(state, i, values.asOf() + ms, values.features());
          addFeatures(view, features, answer.addObject());
        }
      }
    }

    void describe(ArrayNode entities) throws IOException {
      for (Map.Entry<String, EntityState> entry : states.entrySet()) {
        DataOutputSerializer out = new DataOutputSerializer(256);
        serializer.serialize(entry.getValue(), out);
        ObjectNode entity = entities.addObject();
        entity.put("stage", stage.entity()).put("entity", entry.getKey());
        entity.put("bytes", out.length());
        ArrayNode windows = entity.putArray("windows");
        for (StateReport.WindowReport window : StateReport.of(entry.getValue())) {
          Plan.View view = stage.views().get(window.view());
          ObjectNode described = windows.addObject();
          described.put("view", view.name());
          described.put("window_ms", window.sizeMs()).put("hop_ms", window.hopMs());
          ArrayNode tiles = described.putArray("tiles");
          for (StateReport.TileReport tile : window.tiles()) {
            ObjectNode values = tiles.addObject().put("index", tile.index()).putObject("values");
            for (int i = 0; i < window.features().length; i++) {
              values.set(
                  view.features().get(window.features()[i]).name(),
                  MAPPER.valueToTree(tile.results()[i]));
            }
          }
        }
      }
    }

    void restore() throws IOException {
      for (Map.Entry<String, EntityState> entry : states.entrySet()) {
        DataOutputSerializer out = new DataOutputSerializer(256);
        serializer.serialize(entry.getValue(), out);
        entry.setValue(serializer.deserialize(new DataInputDeserializer(out.getCopyOfBuffer())));
      }
    }
  }

  private static Event event(Plan plan, ColumnLayout layout, JsonNode row, int number) {
    Event event = new Event();
    event.source = row.path("__source").asInt(0);
    Plan.Source source = plan.sources().get(event.source);
    event.time = row.get(source.eventTime()).longValue();
    String id = source.eventId();
    event.id = id == null ? source.topic() + "/0/" + number : row.get(id).textValue();
    event.offset = number;
    event.columns = new Object[layout.size()];
    for (int i = 0; i < layout.size(); i++) {
      event.columns[i] = value(row.get(layout.names().get(i)), layout.type(i));
    }
    event.views = new ViewValues[plan.views().size()];
    return event;
  }

  private static Object value(JsonNode value, FeatureType type) {
    if (value == null || value.isNull()) {
      return null;
    }
    if (!type.isList()) {
      return value(value, type.element());
    }
    List<Object> elements = new ArrayList<>();
    value.forEach(element -> elements.add(value(element, type.element())));
    return elements;
  }

  private static Object value(JsonNode value, ColumnType type) {
    return switch (type) {
      case STRING -> value.textValue();
      case LONG -> value.longValue();
      case DOUBLE -> value.doubleValue();
      case BOOLEAN -> value.booleanValue();
    };
  }

  private static ObjectNode views(Plan plan, Event event) {
    ObjectNode views = MAPPER.createObjectNode();
    List<Plan.View> planned = plan.views();
    for (int i = 0; i < planned.size(); i++) {
      ViewValues values = event.views[i];
      if (values == null) {
        views.putNull(planned.get(i).name());
        continue;
      }
      ObjectNode view = views.putObject(planned.get(i).name());
      view.put("entity", values.entity());
      view.put("seq", values.seq());
      view.put("as_of", values.asOf());
      view.put("late", values.late());
      addFeatures(planned.get(i), values.features(), view.putObject("features"));
    }
    return views;
  }

  private static void addFeatures(Plan.View view, Object[] values, ObjectNode features) {
    // The kernel does not compute the view's derived features; SQL does, later.
    for (int i = 0; i < view.features().size(); i++) {
      features.set(view.features().get(i).name(), MAPPER.valueToTree(values[i]));
    }
  }

  private static ArrayNode decode(JsonNode request) throws Exception {
    Plan plan = Plan.parse(MAPPER.writeValueAsString(request.get("plan")));
    List<String> writers = new ArrayList<>();
    request.path("writers").forEach(writer -> writers.add(writer.textValue()));
    byte[] key = request.hasNonNull("key") ? request.get("key").binaryValue() : null;
    ColumnLayout layout = ColumnLayout.contract(plan);
    int source = request.path("source").asInt(0);
    EventDecoder.DecoderSettings settings =
        new EventDecoder.DecoderSettings(
            Collections.nCopies(plan.sources().size() + plan.lookups().size(), writers),
            request.path("registry").textValue(),
            key);
    if (request.hasNonNull("lookup")) {
      return decodeRows(
          request,
          plan.lookups().get(request.get("lookup").intValue()),
          EventDecoder.ofLookup(plan, request.get("lookup").intValue(), settings));
    }
    EventDecoder decoder =
        new EventDecoder(
            plan, source, layout, settings, () -> request.path("clock").asLong(Long.MAX_VALUE));
    ArrayNode answer = MAPPER.createArrayNode();
    for (JsonNode record : request.get("records")) {
      byte[] value = record.hasNonNull("value") ? record.get("value").binaryValue() : null;
      byte[] rawKey = record.hasNonNull("key") ? record.get("key").binaryValue() : null;
      List<RawRecord.Header> headers = new ArrayList<>();
      record
          .path("headers")
          .forEach(
              header ->
                  headers.add(
                      header.isTextual()
                          ? new RawRecord.Header(header.textValue(), null)
                          : new RawRecord.Header(header.get(0).textValue(), bytes(header.get(1)))));
      ObjectNode result = answer.addObject();
      try {
        Event event =
            decoder.decode(
                new RawRecord(
                    source, 0, 0, record.get("timestamp").longValue(), rawKey, value, headers));
        if (event == null) {
          result.put("ignored", true);
          continue;
        }
        ObjectNode columns = result.putObject("columns");
        for (int i = 0; i < layout.size(); i++) {
          columns.set(layout.names().get(i), MAPPER.valueToTree(event.columns[i]));
        }
        if (rawKey != null) {
          result.put("key", event.key);
        }
      } catch (InvalidEventException invalid) {
        result.put("reason", invalid.reason.label).put("message", invalid.getMessage());
      }
    }
    return answer;
  }

  private static ArrayNode decodeRows(JsonNode request, Plan.Lookup lookup, EventDecoder decoder)
      throws Exception {
    ArrayNode answer = MAPPER.createArrayNode();
    for (JsonNode record : request.get("records")) {
      ObjectNode result = answer.addObject();
      try {
        Object[] row =
            decoder.row(
                new RawRecord(-1, 0, 0, -1, null, record.get("value").binaryValue(), List.of()));
        ObjectNode columns = result.putObject("columns");
        for (int i = 0; i < row.length; i++) {
          columns.set(lookup.fields().get(i).name(), MAPPER.valueToTree(row[i]));
        }
      } catch (InvalidEventException invalid) {
        result.put("reason", invalid.reason.label).put("message", invalid.getMessage());
      }
    }
    return answer;
  }

  private static ArrayNode lookups(JsonNode request) throws Exception {
    Plan plan = Plan.parse(MAPPER.writeValueAsString(request.get("plan")));
    List<List<String>> writers = new ArrayList<>();
    for (JsonNode of : request.get("writers")) {
      List<String> texts = new ArrayList<>();
      of.forEach(text -> texts.add(text.textValue()));
      writers.add(texts);
    }
    byte[] key = request.hasNonNull("key") ? request.get("key").binaryValue() : null;
    ColumnLayout layout = ColumnLayout.contract(plan);
    LookupTables tables =
        new LookupTables(plan, layout, new EventDecoder.DecoderSettings(writers, null, key));
    ArrayNode answer = MAPPER.createArrayNode();
    int number = 0;
    for (JsonNode step : request.get("steps")) {
      if (step.has("row")) {
        Event event = event(plan, layout, step.get("row"), number++);
        tables.join(event);
        ObjectNode columns = answer.addObject();
        for (Plan.Lookup lookup : plan.lookups()) {
          for (List<String> pair : lookup.columns()) {
            columns.set(
                pair.get(1), MAPPER.valueToTree(event.columns[layout.indexOf(pair.get(1))]));
          }
        }
      } else {
        byte[] recordKey = step.hasNonNull("key") ? step.get("key").binaryValue() : null;
        byte[] value = step.hasNonNull("value") ? step.get("value").binaryValue() : null;
        int topic = step.get("topic").intValue();
        tables.apply(
            topic, new RawRecord(-1 - topic, 0, number++, -1, recordKey, value, List.of()));
      }
    }
    return answer;
  }

  private static byte[] bytes(JsonNode base64) {
    return base64.isNull() ? null : Base64.getDecoder().decode(base64.textValue());
  }
}
