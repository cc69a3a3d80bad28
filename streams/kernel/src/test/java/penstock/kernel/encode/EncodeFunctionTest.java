package penstock.kernel.encode;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.api.operators.ProcessOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventPosition;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** Feature records, read back with Avro's own reader, and their attempt. */
class EncodeFunctionTest {
  private static final String PLAN_JSON =
      Plans.plan(
          Plans.view(
              "a",
              "h1",
              Plans.feature("n", "count", null, 1_000, 100),
              Plans.feature("l", "top_k", "x", 1_000, 100),
              Plans.feature("e", "last_k", "x", 1_000, 100),
              Plans.feature("h", "histogram", "x", 1_000, 100)),
          Plans.view("b", "h2", Plans.feature("s", "sum", "x", 1_000, 100)));
  private static final Plan PLAN = Plan.parse(PLAN_JSON);
  private static final String SCHEMA = Plans.schema(PLAN);

  private static Event event(Double x) {
    Event event = Plans.event(PLAN, "é1", 5, "k", x);
    event.partition = 3;
    event.offset = 1L << 40;
    event.views[0] =
        new ViewValues("k", 7, 2, 6, true, new Object[] {4L, List.of(2.5, 1.5), null, List.of()});
    return event;
  }

  private static GenericRecord read(byte[] value) throws IOException {
    Schema schema = new Schema.Parser().parse(SCHEMA);
    return new BinaryMessageDecoder<GenericRecord>(new GenericData(), schema).decode(value);
  }

  @Test
  void avrosOwnReaderReadsTheRecord() throws IOException {
    GenericRecord record = read(new FeatureEncoder(PLAN, SCHEMA).encode(event(null), 9));
    assertEquals("é1", record.get("event_id").toString());
    assertEquals(9L, record.get("attempt"));
    assertEquals(1L << 40, ((GenericRecord) record.get("source")).get("offset"));
    assertNull(((GenericRecord) record.get("event")).get("x"));
    GenericRecord view = (GenericRecord) record.get("a");
    assertEquals(true, view.get("late"));
    assertEquals(4L, view.get("n"));
    assertEquals(List.of(2.5, 1.5), view.get("l"));
    assertNull(view.get("e"));
    assertEquals(List.of(), view.get("h"));
    assertNull(record.get("b"));
  }

  @Test
  void aSchemaOfAnotherPlanIsRefused() {
    Plan other =
        Plan.parse(Plans.plan(Plans.view("c", "h", Plans.feature("n", "count", null, 1_000, 100))));
    assertThrows(IllegalArgumentException.class, () -> new FeatureEncoder(other, SCHEMA));
  }

  @Test
  void theAttemptGrowsWithEachRunThatContinuesTheStateAlthoughTheClockStandsStill()
      throws Exception {
    OperatorSubtaskState state = null;
    for (long run = 0; run < 3; run++) {
      try (var harness = harness()) { // The JobManager's clock in the harness always says 0.
        if (state != null) {
          harness.initializeState(state);
        }
        harness.open();
        harness.processElement(event(1.5), 0);
        OutgoingRecord record = harness.extractOutputValues().get(0);
        assertEquals(run, read(record.value()).get("attempt"));
        assertEquals(3, record.partition());
        assertArrayEquals(new byte[] {1}, record.key());
        assertArrayEquals(new byte[] {(byte) 0xC3, 1}, Arrays.copyOf(record.value(), 2));
        state = harness.snapshot(run, run);
      }
    }
  }

  @Test
  void theUpdatesHeaderHasThePositionsOfEachViewThatHasAnyAndNullForTooMany() throws Exception {
    Event event = event(1.5);
    ViewValues a = event.views[0];
    event.views[0] =
        new ViewValues(
            a.entity(), a.epoch(), a.seq(), a.asOf(), a.late(), a.features(),
            List.of(new EventPosition(1, 3, 1L << 40), new EventPosition(2, 0, 5)));
    event.views[1] = new ViewValues("k", 7, 2, 6, true, new Object[] {4.0}, null);
    try (var harness = harness(Plans.withUpdates(PLAN_JSON), 1_000, 2_000)) {
      harness.open();
      harness.processElement(event, 0);
      List<RawRecord.Header> headers = harness.extractOutputValues().get(0).headers();
      assertEquals("updates", headers.get(0).name());
      assertEquals(
          "{\"a\":[[1,3,1099511627776],[2,0,5]],\"b\":null}",
          new String(headers.get(0).value(), StandardCharsets.UTF_8));
    }
  }

  @Test
  void aRecordThatItsTopicDoesNotTakeBecomesALetterWithAnExcerptAndLaterEventsFollow()
      throws Exception {
    Event large = event(1.5);
    large.id = "é".repeat(500);
    large.views[0] =
        new ViewValues(
            "k", 7, 2, 6, true, new Object[] {4L, Collections.nCopies(99, 2.5), null, List.of()});
    try (var harness = harness(1_000, 2_000)) {
      harness.open();
      harness.processElement(large, 0);
      harness.processElement(event(1.5), 0);
      assertEquals(1, harness.extractOutputValues().size());
      OutgoingRecord letter = letters(harness).get(0);
      assertEquals(3, letter.partition());
      assertArrayEquals(new byte[] {1}, letter.key());
      assertTrue(letter.bytes() <= 2_000);
      assertEquals("events", header(letter, "__connect.errors.topic"));
      assertEquals(String.valueOf(1L << 40), header(letter, "__connect.errors.offset"));
      assertEquals(
          "penstock.FeaturesTooLarge", header(letter, "__connect.errors.exception.class.name"));
      assertEquals("encode", header(letter, "__connect.errors.stage"));
      assertEquals(
          new FeatureEncoder(PLAN, SCHEMA).encode(large, 0).length,
          Integer.parseInt(header(letter, "penstock.value.bytes")));
      GenericRecord excerpt = read(letter.value());
      assertEquals("é".repeat(256), excerpt.get("event_id").toString());
      assertEquals(2L, ((GenericRecord) excerpt.get("a")).get("seq"));
      assertEquals(Collections.nCopies(16, 2.5), ((GenericRecord) excerpt.get("a")).get("l"));
    }
  }

  @Test
  void aLetterThatItsTopicDoesNotTakeLosesTheKeyAndThenTheExcerpt() throws Exception {
    Event large = event(1.5);
    large.key = new byte[3_000];
    try (var harness = harness(1_000, 2_000)) {
      harness.open();
      harness.processElement(large, 0);
      OutgoingRecord letter = letters(harness).get(0);
      assertNull(letter.key());
      assertEquals("é1", read(letter.value()).get("event_id").toString());
    }
    try (var harness = harness(1_000, 800)) {
      harness.open();
      harness.processElement(large, 0);
      OutgoingRecord letter = letters(harness).get(0);
      assertNull(letter.value());
      assertEquals("events", header(letter, "__connect.errors.topic"));
    }
  }

  private static List<OutgoingRecord> letters(
      OneInputStreamOperatorTestHarness<Event, OutgoingRecord> harness) {
    return harness.getSideOutput(EncodeFunction.DEAD_LETTERS).stream()
        .map(StreamRecord::getValue)
        .toList();
  }

  private static String header(OutgoingRecord record, String name) {
    return record.headers().stream()
        .filter(header -> header.name().equals(name))
        .map(header -> new String(header.value(), StandardCharsets.UTF_8))
        .findFirst()
        .orElseThrow();
  }

  @Test
  void allSubtasksOfARunAgreeOnWhenItBeganAndTheNextRunBeganLater() {
    RunStart start = new RunStart();
    long now = System.currentTimeMillis();
    RunStart.LatestRun first = start.add(0, start.createAccumulator());
    assertTrue(start.getResult(first) >= now);
    assertEquals(first, start.add(0, first));
    RunStart.LatestRun second = start.add(1, first);
    assertTrue(start.getResult(second) > start.getResult(first));
    assertEquals(second, start.add(0, second));
  }

  private static OneInputStreamOperatorTestHarness<Event, OutgoingRecord> harness()
      throws Exception {
    return harness(PLAN_JSON, 1_000, 2_000);
  }

  private static OneInputStreamOperatorTestHarness<Event, OutgoingRecord> harness(
      long maxBytes, long maxLetterBytes) throws Exception {
    return harness(PLAN_JSON, maxBytes, maxLetterBytes);
  }

  private static OneInputStreamOperatorTestHarness<Event, OutgoingRecord> harness(
      String planJson, long maxBytes, long maxLetterBytes) throws Exception {
    var harness =
        new OneInputStreamOperatorTestHarness<Event, OutgoingRecord>(
            new ProcessOperator<>(new EncodeFunction(planJson, SCHEMA, maxBytes, maxLetterBytes)));
    harness.setup(new OutgoingRecordSerializer());
    return harness;
  }
}
