package penstock.kernel.decode;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.flink.streaming.api.operators.ProcessOperator;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;

/** What becomes of records that are neither events nor refused. */
class DecodeFunctionTest {
  private static final String PLAN =
      Plans.plan(Plans.view("a", "h", Plans.feature("n", "count", null, 1_000, 100)))
          .replace(
              "\"max_bytes\": 1000,",
              "\"max_bytes\": 1000, \"envelope\": {\"kind\": \"debezium\", \"operations\":"
                  + " [\"insert\"]},");

  private static RawRecord record(String value) {
    byte[] bytes = value == null ? null : value.getBytes(StandardCharsets.UTF_8);
    return new RawRecord(0, 0, 0, -1, null, bytes, List.of());
  }

  @Test
  void tombstonesAndOtherChangesAreNeitherEventsNorDeadLetters() throws Exception {
    DecodeFunction function =
        new DecodeFunction(
            PLAN,
            false,
            new EventDecoder.DecoderSettings(List.of(List.of()), null, null),
            List.of(10_000L),
            true,
            null);
    try (OneInputStreamOperatorTestHarness<RawRecord, Event> harness =
        new OneInputStreamOperatorTestHarness<>(new ProcessOperator<>(function))) {
      harness.open();
      harness.processElement(record(null), 0);
      harness.processElement(record("{\"op\": \"u\", \"after\": {}}"), 0);
      assertEquals(0, harness.extractOutputValues().size());
      assertNull(harness.getSideOutput(DecodeFunction.deadLetters(0)));
      harness.processElement(
          record("{\"op\": \"c\", \"after\": {\"id\": \"i\", \"time\": 1700000000000}}"), 0);
      harness.processElement(record("{}"), 0);
      assertEquals("i", harness.extractOutputValues().get(0).id);
      assertEquals(1, harness.getSideOutput(DecodeFunction.deadLetters(0)).size());
    }
  }
}
