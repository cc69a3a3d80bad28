package penstock.kernel.encode;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.util.Arrays;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.message.BinaryMessageDecoder;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.api.operators.StreamMap;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** Feature records: read back with Avro's own reader; and the attempt that they carry. */
class EncodeFunctionTest {
  private static final String PLAN_JSON =
      Plans.plan(
          Plans.view("a", "h1", Plans.feature("n", "count", null, 1_000, 100)),
          Plans.view("b", "h2", Plans.feature("s", "sum", "x", 1_000, 100)));
  private static final Plan PLAN = Plan.parse(PLAN_JSON);
  private static final String SCHEMA = Plans.schema(PLAN);

  private static Event event(Double x) {
    Event event = Plans.event(PLAN, "é1", 5, "k", x);
    event.partition = 3;
    event.offset = 1L << 40;
    event.views[0] = new ViewValues("k", 7, 2, 6, true, new Object[] {4L});
    return event;
  }

  private static GenericRecord read(byte[] value) throws IOException {
    Schema schema = new Schema.Parser().parse(SCHEMA);
    return new BinaryMessageDecoder<GenericRecord>(new GenericData(), schema).decode(value);
  }

  @Test
  void aRecordIsWhatAvrosReaderReads() throws IOException {
    GenericRecord record = read(new FeatureEncoder(PLAN, SCHEMA).encode(event(null), 9));
    assertEquals("é1", record.get("event_id").toString());
    assertEquals(9L, record.get("attempt"));
    assertEquals(1L << 40, ((GenericRecord) record.get("source")).get("offset"));
    assertNull(((GenericRecord) record.get("event")).get("x"));
    GenericRecord view = (GenericRecord) record.get("a");
    assertEquals(true, view.get("late"));
    assertEquals(4L, view.get("n"));
    assertNull(record.get("b"));
  }

  @Test
  void aSchemaOfAnotherPlanIsRefused() {
    Plan other =
        Plan.parse(Plans.plan(Plans.view("c", "h", Plans.feature("n", "count", null, 1_000, 100))));
    assertThrows(IllegalArgumentException.class, () -> new FeatureEncoder(other, SCHEMA));
  }

  @Test
  void theAttemptGrowsWithEachSubmissionThatContinuesTheState() throws Exception {
    OperatorSubtaskState state = null;
    for (long submission = 0; submission < 3; submission++) {
      try (var harness =
          new OneInputStreamOperatorTestHarness<Event, Outgoing>(
              new StreamMap<>(new EncodeFunction(PLAN_JSON, SCHEMA, 1_000 + submission)))) {
        harness.setup(new OutgoingSerializer());
        if (state != null) {
          harness.initializeState(state);
        }
        harness.open();
        harness.processElement(event(1.5), 0);
        Outgoing record = harness.extractOutputValues().get(0);
        assertEquals(submission, read(record.value()).get("attempt"));
        assertEquals(3, record.partition());
        assertArrayEquals(new byte[] {1}, record.key());
        state = harness.snapshot(submission, submission);
      }
    }
  }

  @Test
  void aRestartOfTheSameSubmissionCountsFromWhereItBegan() throws Exception {
    OperatorSubtaskState state;
    try (var harness =
        new OneInputStreamOperatorTestHarness<Event, Outgoing>(
            new StreamMap<>(new EncodeFunction(PLAN_JSON, SCHEMA, 1_000)))) {
      harness.setup(new OutgoingSerializer());
      harness.open();
      state = harness.snapshot(1, 1);
    }
    try (var harness =
        new OneInputStreamOperatorTestHarness<Event, Outgoing>(
            new StreamMap<>(new EncodeFunction(PLAN_JSON, SCHEMA, 1_000)))) {
      harness.setup(new OutgoingSerializer());
      harness.initializeState(state);
      harness.open();
      harness.processElement(event(1.5), 0);
      byte[] value = harness.extractOutputValues().get(0).value();
      assertEquals(0L, read(value).get("attempt"));
      assertArrayEquals(new byte[] {(byte) 0xC3, 1}, Arrays.copyOf(value, 2));
    }
  }
}
