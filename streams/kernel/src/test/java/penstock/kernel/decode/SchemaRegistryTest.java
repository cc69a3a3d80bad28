package penstock.kernel.decode;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The schema registry: which failures make an event invalid, and which fail the job. */
class SchemaRegistryTest {
  private final AtomicInteger asked = new AtomicInteger();
  private HttpServer server;
  private volatile int status = 200;
  private volatile String body = "{\"schema\": \"{\\\"type\\\": \\\"string\\\"}\"}";

  @BeforeEach
  void serve() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext(
        "/schemas/ids/7",
        exchange -> {
          asked.incrementAndGet();
          byte[] answer = body.getBytes(StandardCharsets.UTF_8);
          exchange.sendResponseHeaders(status, answer.length);
          exchange.getResponseBody().write(answer);
          exchange.close();
        });
    server.start();
  }

  @AfterEach
  void close() {
    server.stop(0);
  }

  private SchemaRegistry registry() {
    return new SchemaRegistry("http://127.0.0.1:" + server.getAddress().getPort() + "/");
  }

  @Test
  void aSchemaIsRequestedOnce() throws Exception {
    SchemaRegistry registry = registry();
    assertEquals("\"string\"", registry.schema(7).toString());
    registry.schema(7);
    assertEquals(1, asked.get());
  }

  @Test
  void anUnknownIdMakesTheEventInvalid() {
    status = 404;
    InvalidEventException invalid =
        assertThrows(InvalidEventException.class, () -> registry().schema(7));
    assertEquals(InvalidEventException.Reason.UNKNOWN_SCHEMA, invalid.reason);
  }

  @Test
  void aSchemaThatIsNotAvroMakesTheEventInvalid() {
    body = "{\"schemaType\": \"PROTOBUF\", \"schema\": \"\"}";
    assertThrows(InvalidEventException.class, () -> registry().schema(7));
  }

  @Test
  void aFailingRegistryDoesNotMakeTheEventInvalid() {
    status = 500;
    assertThrows(IOException.class, () -> registry().schema(7));
  }
}
