package penstock.kernel.decode;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The schema registry: which failures make an event invalid, and which fail the job. */
class SchemaRegistryTest {
  private static final WriterSchema STRING =
      new WriterSchema.Avro(org.apache.avro.Schema.create(org.apache.avro.Schema.Type.STRING));

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
    assertEquals(STRING, registry.schema(7));
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
    assertEquals(STRING, registry().schema(7));
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

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{'type': 'array', 'items': 'null'}",
        "{'type': 'map', 'values': ['null', {'type': 'array', 'items': 'null'}]}",
        "{'type': 'array', 'items': {'type': 'fixed', 'name': 'f', 'size': 0}}",
        "{'type': 'array', 'items': {'type': 'record', 'name': 'r', 'fields': []}}",
        "{'type': 'array', 'items': {'type': 'record', 'name': 'r', 'fields':"
            + " [{'name': 'a', 'type': 'null'}]}}"
      })
  void aSchemaWhoseArraysMayBeOfAnyLengthInAFewBytesMakesTheEventInvalid(String schema) {
    body = "{\"schema\": \"" + schema.replace("'", "\\\"") + "\"}";
    InvalidEventException refused =
        assertThrows(InvalidEventException.class, () -> registry().schema(7));
    assertTrue(refused.getMessage().contains("items take no bytes"), refused.getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{'type': 'array', 'items': ['null', 'long']}",
        "{'type': 'array', 'items': {'type': 'array', 'items': 'boolean'}}",
        "{'type': 'map', 'values': 'null'}"
      })
  void aSchemaWhoseItemsTakeBytesIsRead(String schema) throws Exception {
    body = "{\"schema\": \"" + schema.replace("'", "\\\"") + "\"}";
    assertNotNull(registry().schema(7));
  }

  @Test
  void aSchemaOfRecordsThatContainEachOtherTwiceIsReadInNoTime() throws Exception {
    StringBuilder schema = new StringBuilder("{'type': 'record', 'name': 'r', 'fields': [");
    for (int i = 0; i < 60; i++) {
      String inner = i == 0 ? "'null'" : "'r" + (i - 1) + "'";
      schema
          .append(i == 0 ? "" : ", ")
          .append("{'name': 'f" + i + "', 'type': {'type': 'record', ");
      schema.append("'name': 'r" + i + "', 'fields': [{'name': 'a', 'type': " + inner + "}, ");
      schema.append("{'name': 'b', 'type': " + inner + "}]}}");
    }
    schema.append("]}");
    body = "{\"schema\": \"" + schema.toString().replace("'", "\\\"") + "\"}";
    assertNotNull(registry().schema(7));
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
  void aSchemaOfAnUnknownKindMakesTheEventInvalid() {
    body = "{\"schemaType\": \"THRIFT\", \"schema\": \"\"}";
    assertThrows(InvalidEventException.class, () -> registry().schema(7));
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "!", "message A {}"})
  void aProtobufSchemaThatCannotBeReadMakesTheEventInvalid(String schema) {
    body = "{\"schemaType\": \"PROTOBUF\", \"schema\": \"" + schema + "\"}";
    assertThrows(InvalidEventException.class, () -> registry().schema(7));
  }

  @Test
  void aFailingRegistryDoesNotMakeTheEventInvalid() {
    status = 500;
    assertThrows(IOException.class, () -> registry().schema(7));
  }
}
