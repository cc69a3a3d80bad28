package penstock.kernel.decode;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

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
  private volatile int known = 1;
  private volatile String body = "{\"schema\": \"{\\\"type\\\": \\\"string\\\"}\"}";

  @BeforeEach
  void serve() throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.createContext(
        "/schemas/ids/",
        exchange -> {
          int now = asked.incrementAndGet() >= known ? status : 404;
          byte[] answer = body.getBytes(StandardCharsets.UTF_8);
          exchange.sendResponseHeaders(now, answer.length);
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
  void anIdThatAFollowerDoesNotKnowYetIsAskedForAgain() throws Exception {
    known = 3;
    assertEquals("\"string\"", registry().schema(7).toString());
    assertEquals(3, asked.get());
  }

  @Test
  void anUnknownIdIsNotAskedForWithEveryEvent() {
    status = 404;
    SchemaRegistry registry = registry();
    assertThrows(InvalidEventException.class, () -> registry.schema(7));
    int first = asked.get();
    assertThrows(InvalidEventException.class, () -> registry.schema(7));
    assertEquals(first, asked.get());
  }

  @Test
  void aFloodOfUnknownIdsIsNotWaitedForEachTime() {
    status = 404;
    SchemaRegistry registry = registry();
    long began = System.nanoTime();
    for (int id = 1; id <= 200; id++) {
      int unknown = id;
      assertThrows(InvalidEventException.class, () -> registry.schema(unknown));
    }
    assertTrue(asked.get() <= 220, "asked " + asked.get());
    assertTrue(System.nanoTime() - began < 20_000_000_000L);
  }

  @Test
  void aSchemaThatContainsItselfMakesTheEventInvalid() {
    body =
        "{\"schema\": \"{\\\"type\\\": \\\"record\\\", \\\"name\\\": \\\"n\\\", \\\"fields\\\":"
            + " [{\\\"name\\\": \\\"next\\\", \\\"type\\\": [\\\"null\\\", \\\"n\\\"]}]}\"}";
    assertThrows(InvalidEventException.class, () -> registry().schema(7));
  }

  @Test
  void aSchemaThatNestsTooDeepMakesTheEventInvalid() {
    String deep = "{\\\"type\\\": \\\"array\\\", \\\"items\\\": ".repeat(100_000);
    body = "{\"schema\": \"" + deep + "\\\"long\\\"" + "}".repeat(100_000) + "\"}";
    assertThrows(InvalidEventException.class, () -> registry().schema(7));
  }

  @Test
  void aSchemaWithAnInvalidDefaultMakesTheEventInvalid() {
    body =
        "{\"schema\": \"{\\\"type\\\": \\\"record\\\", \\\"name\\\": \\\"n\\\", \\\"fields\\\":"
            + " [{\\\"name\\\": \\\"a\\\", \\\"type\\\": \\\"long\\\", \\\"default\\\": \\\"x\\\"}]}\"}";
    assertThrows(InvalidEventException.class, () -> registry().schema(7));
  }

  @Test
  void aSchemaOfAnUnknownTypeMakesTheEventInvalid() {
    body = "{\"schema\": \"{\\\"type\\\": \\\"nothing\\\"}\"}";
    assertThrows(InvalidEventException.class, () -> registry().schema(7));
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
