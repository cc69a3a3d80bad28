package penstock.kernel.decode;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.SchemaParseException;
import penstock.kernel.decode.InvalidEventException.Reason;

/**
 * Fetches Avro schemas by id from a Confluent schema registry. Schemas are cached for ever, as an
 * id never changes its meaning; an unknown id is cached for half a minute. If the registry does not
 * answer, requests are retried for a while. Then the job fails over, and no event is lost.
 */
final class SchemaRegistry {
  private static final int ATTEMPTS = 6;
  private static final long FIRST_PAUSE_MS = 200;
  private static final long UNKNOWN_FOR_NS = Duration.ofSeconds(30).toNanos();

  private final String url;
  private final HttpClient client =
      HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(3)).build();
  private final ObjectMapper mapper = new ObjectMapper();
  private final Map<Integer, Schema> known = new HashMap<>();
  private final Map<Integer, Long> unknown = new HashMap<>();

  SchemaRegistry(String url) {
    this.url = url.endsWith("/") ? url.substring(0, url.length() - 1) : url;
  }

  /**
   * The schema of that id.
   *
   * @throws InvalidEventException if the registry has no Avro schema of that id
   * @throws IOException if the registry does not answer
   */
  Schema schema(int id) throws InvalidEventException, IOException, InterruptedException {
    Schema schema = known.get(id);
    if (schema != null) {
      return schema;
    }
    Long since = unknown.get(id);
    if (since != null && System.nanoTime() - since < UNKNOWN_FOR_NS) {
      throw unknown(id);
    }
    HttpResponse<String> answer = ask(id);
    if (answer.statusCode() == 404) {
      unknown.put(id, System.nanoTime());
      throw unknown(id);
    }
    schema = parse(id, answer.body());
    known.put(id, schema);
    return schema;
  }

  private HttpResponse<String> ask(int id) throws IOException, InterruptedException {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(url + "/schemas/ids/" + id))
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

  private Schema parse(int id, String body) throws InvalidEventException, IOException {
    JsonNode answer = mapper.readTree(body);
    if (!answer.path("schemaType").asText("AVRO").equals("AVRO")
        || !answer.path("references").isEmpty()) {
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA, "schema id " + id + " is not one self-contained Avro schema");
    }
    try {
      return new Schema.Parser().parse(answer.path("schema").asText());
    } catch (SchemaParseException error) {
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA, "schema id " + id + " is not an Avro schema");
    }
  }

  private static InvalidEventException unknown(int id) {
    return new InvalidEventException(
        Reason.UNKNOWN_SCHEMA, "the schema registry has no schema id " + id);
  }
}
