package penstock.kernel.decode;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.DescriptorProtos.FileDescriptorProto;
import com.google.protobuf.Descriptors.DescriptorValidationException;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.InvalidProtocolBufferException;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.avro.Schema;
import penstock.kernel.decode.InvalidEventException.Reason;

/**
 * Fetches schemas by id from a Confluent schema registry. Schemas are cached for ever, as an id
 * never changes its meaning; of unknown ids, the last thousand are for half a minute. An unknown id
 * is asked for again first, as the node that answers may lag behind the one that registers. If the
 * registry does not answer, requests are retried for a while. Then the job fails over, and no event
 * is lost.
 */
final class SchemaRegistry {
  private static final int ATTEMPTS = 6;
  private static final long FIRST_PAUSE_MS = 200;
  private static final long UNKNOWN_FOR_NS = Duration.ofSeconds(30).toNanos();
  private static final int MAX_UNKNOWN = 1_000;
  private static final int ASK_AGAIN = 3;
  private static final long ASK_AGAIN_AFTER_MS = 250;

  /** In {@link #UNKNOWN_FOR_NS}, so that a flood of garbage does not stop the job. */
  private static final int MAX_ASKED_AGAIN = 20;

  private static final int MAX_DEPTH = 100;

  private final String url;
  private final HttpClient client =
      HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(3)).build();
  private final ObjectMapper mapper = new ObjectMapper();
  private final ObjectMapper shallow =
      new ObjectMapper(
          JsonFactory.builder()
              .streamReadConstraints(
                  StreamReadConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
              .build());
  private final Map<Integer, WriterSchema> known = new HashMap<>();
  private final Map<Integer, Long> unknown =
      new LinkedHashMap<>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<Integer, Long> eldest) {
          return size() > MAX_UNKNOWN;
        }
      };
  private long askedAgainSince = System.nanoTime();
  private int askedAgain;

  SchemaRegistry(String url) {
    this.url = url.endsWith("/") ? url.substring(0, url.length() - 1) : url;
  }

  /**
   * The schema of that id.
   *
   * @throws InvalidEventException if the registry has no schema of that id that can be read
   * @throws IOException if the registry does not answer
   */
  WriterSchema schema(int id) throws InvalidEventException, IOException, InterruptedException {
    WriterSchema schema = known.get(id);
    if (schema != null) {
      return schema;
    }
    Long since = unknown.get(id);
    if (since != null && System.nanoTime() - since < UNKNOWN_FOR_NS) {
      throw unknown(id);
    }
    HttpResponse<String> answer = ask("/schemas/ids/" + id);
    for (int i = 0; i < ASK_AGAIN && answer.statusCode() == 404 && mayAskAgain(); i++) {
      Thread.sleep(ASK_AGAIN_AFTER_MS);
      answer = ask("/schemas/ids/" + id);
    }
    if (answer.statusCode() == 404) {
      unknown.remove(id); // so that it is the newest
      unknown.put(id, System.nanoTime());
      throw unknown(id);
    }
    schema = parse(id, answer.body());
    known.put(id, schema);
    return schema;
  }

  private boolean mayAskAgain() {
    if (System.nanoTime() - askedAgainSince > UNKNOWN_FOR_NS) {
      askedAgainSince = System.nanoTime();
      askedAgain = 0;
    }
    return askedAgain++ < MAX_ASKED_AGAIN;
  }

  private HttpResponse<String> ask(String path) throws IOException, InterruptedException {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(url + path))
            .timeout(Duration.ofSeconds(5))
            .header("Accept", "application/vnd.schemaregistry.v1+json")
            .build();
    String failure = "";
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (attempt > 0) {
        Thread.sleep(FIRST_PAUSE_MS << attempt - 1);
      }
      try {
        HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() == 200 || answer.statusCode() == 404) {
          return answer;
        }
        failure = "status " + answer.statusCode();
      } catch (IOException error) {
        failure = error.toString();
      }
    }
    throw new IOException(
        "the schema registry at "
            + url
            + " does not answer ("
            + failure
            + "); the job retries from its last checkpoint");
  }

  private WriterSchema parse(int id, String body)
      throws InvalidEventException, IOException, InterruptedException {
    JsonNode answer = mapper.readTree(body);
    return switch (answer.path("schemaType").asText("AVRO")) {
      case "JSON" -> new WriterSchema.Json();
      case "PROTOBUF" -> new WriterSchema.Protobuf(protobuf(id));
      default -> new WriterSchema.Avro(avro(id, answer));
    };
  }

  /** A Protobuf schema, and what it refers to, in the registry's compiled form. */
  private FileDescriptor protobuf(int id)
      throws InvalidEventException, IOException, InterruptedException {
    ProtobufFiles files = new ProtobufFiles();
    try {
      return files.linked(file(files, "/schemas/ids/" + id, "schema " + id));
    } catch (InvalidProtocolBufferException
        | DescriptorValidationException
        | IllegalArgumentException error) {
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA,
          "schema id "
              + id
              + " is not a Protobuf schema that can be read ("
              + error.getClass().getSimpleName()
              + ")");
    }
  }

  private FileDescriptorProto file(ProtobufFiles files, String path, String name)
      throws InvalidEventException, IOException, InterruptedException {
    HttpResponse<String> answer = ask(path + "?format=serialized");
    if (answer.statusCode() == 404) {
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA, "the schema registry has no schema " + path);
    }
    JsonNode schema = mapper.readTree(answer.body());
    byte[] bytes = Base64.getDecoder().decode(schema.path("schema").asText());
    FileDescriptorProto file =
        FileDescriptorProto.parseFrom(bytes).toBuilder().setName(name).build();
    for (JsonNode reference : schema.path("references")) {
      String imported = reference.path("name").asText();
      if (files.begin(imported)) {
        String of = URLEncoder.encode(reference.path("subject").asText(), StandardCharsets.UTF_8);
        String version = reference.path("version").asText();
        files.add(file(files, "/subjects/" + of + "/versions/" + version, imported));
      }
    }
    return file;
  }

  private Schema avro(int id, JsonNode answer) throws InvalidEventException {
    if (!answer.path("schemaType").asText("AVRO").equals("AVRO")
        || !answer.path("references").isEmpty()) {
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA, "schema id " + id + " is not one self-contained Avro schema");
    }
    String text = answer.path("schema").asText();
    Schema schema;
    try {
      shallow.readTree(text);
      schema = new Schema.Parser().parse(text);
    } catch (JsonProcessingException | RuntimeException error) {
      // Avro's parser also throws NullPointerException, for a type that does not exist.
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA,
          "schema id " + id + " is not an Avro schema, or nests deeper than " + MAX_DEPTH);
    }
    if (depth(schema, new HashMap<>()) > MAX_DEPTH) {
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA,
          "schema id " + id + " contains itself, or nests deeper than " + MAX_DEPTH);
    }
    Map<String, Boolean> records = new HashMap<>();
    if (hasItemsWithoutBytes(schema, records, new HashSet<>())) {
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA, "schema id " + id + " has an array whose items take no bytes");
    }
    return schema;
  }

  /**
   * Whether values of a schema, which does not contain itself, may have any number of items that
   * take no bytes: a few bytes are an array of a billion nulls. {@code seen} are the records that
   * need no second look, {@code records} those for which {@link #takesNoBytes} is known.
   */
  private static boolean hasItemsWithoutBytes(
      Schema schema, Map<String, Boolean> records, Set<String> seen) {
    return switch (schema.getType()) {
      case ARRAY ->
          takesNoBytes(schema.getElementType(), records)
              || hasItemsWithoutBytes(schema.getElementType(), records, seen);
      case MAP -> hasItemsWithoutBytes(schema.getValueType(), records, seen);
      case UNION ->
          schema.getTypes().stream().anyMatch(type -> hasItemsWithoutBytes(type, records, seen));
      case RECORD ->
          seen.add(schema.getFullName())
              && schema.getFields().stream()
                  .anyMatch(field -> hasItemsWithoutBytes(field.schema(), records, seen));
      default -> false;
    };
  }

  private static boolean takesNoBytes(Schema schema, Map<String, Boolean> records) {
    return switch (schema.getType()) {
      case NULL -> true;
      case FIXED -> schema.getFixedSize() == 0;
      case RECORD -> {
        Boolean found = records.get(schema.getFullName());
        if (found == null) {
          found =
              schema.getFields().stream().allMatch(field -> takesNoBytes(field.schema(), records));
          records.put(schema.getFullName(), found);
        }
        yield found;
      }
      default -> false;
    };
  }

  /**
   * How deep the values of a schema nest. One that contains itself has no limit: a few bytes would
   * overflow the stack of Avro's reader.
   */
  private static int depth(Schema schema, Map<String, Integer> records) {
    return switch (schema.getType()) {
      case ARRAY -> 1 + depth(schema.getElementType(), records);
      case MAP -> 1 + depth(schema.getValueType(), records);
      case UNION -> deepest(schema.getTypes(), records);
      case RECORD -> {
        Integer found = records.get(schema.getFullName());
        if (found == null) {
          records.put(schema.getFullName(), MAX_DEPTH);
          List<Schema> types = schema.getFields().stream().map(Schema.Field::schema).toList();
          found = 1 + deepest(types, records);
          records.put(schema.getFullName(), found);
        }
        yield found;
      }
      default -> 0;
    };
  }

  private static int deepest(List<Schema> schemas, Map<String, Integer> records) {
    int deepest = 0;
    for (Schema schema : schemas) {
      deepest = Math.max(deepest, depth(schema, records));
    }
    return deepest;
  }

  private static InvalidEventException unknown(int id) {
    return new InvalidEventException(
        Reason.UNKNOWN_SCHEMA, "the schema registry has no schema id " + id);
  }
}
