package penstock.kernel.decode;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import penstock.kernel.encode.OutgoingRecord;

/** Dead letters are verbatim as long as their topic takes them. */
class DeadLetterEncoderTest {
  private static final InvalidEventException REASON =
      new InvalidEventException(InvalidEventException.Reason.TOO_LARGE, "too large");

  private static RawRecord record(byte[] key, int valueBytes, int headerBytes) {
    byte[] value = new byte[valueBytes];
    Arrays.fill(value, (byte) 7);
    List<RawRecord.Header> headers = List.of(new RawRecord.Header("own", new byte[headerBytes]));
    return new RawRecord(0, 2, 5, 0, key, value, headers);
  }

  private static List<String> names(OutgoingRecord letter) {
    return letter.headers().stream().map(RawRecord.Header::name).toList();
  }

  @Test
  void aLetterThatFitsIsVerbatim() {
    RawRecord record = record(new byte[] {1}, 20_000, 3);
    OutgoingRecord letter = DeadLetterEncoder.encode("p", "events", record, REASON, 30_000);
    assertArrayEquals(record.value(), letter.value());
    assertEquals(9, letter.headers().size());
    assertEquals(false, names(letter).contains("penstock.value.bytes"));
  }

  @Test
  void ofARecordThatIsLongerThanTheTopicTakesTheLetterHasTheBeginningAndTheLength() {
    OutgoingRecord letter =
        DeadLetterEncoder.encode("p", "events", record(new byte[] {1}, 40_000, 3), REASON, 30_000);
    assertEquals(16_384, letter.value().length);
    assertArrayEquals(new byte[] {1}, letter.key());
    assertEquals("own", names(letter).get(0));
    RawRecord.Header last = letter.headers().get(letter.headers().size() - 1);
    assertEquals("penstock.value.bytes", last.name());
    assertEquals("40000", new String(last.value(), StandardCharsets.UTF_8));
  }

  @Test
  void aKeyAndHeadersThatDoNotFitAreLeftOut() {
    OutgoingRecord letter =
        DeadLetterEncoder.encode("p", "events", record(new byte[40_000], 5, 50_000), REASON, 30_000);
    assertNull(letter.key());
    assertEquals(5, letter.value().length);
    assertEquals("__connect.errors.topic", names(letter).get(0));
    assertEquals(true, letter.bytes() <= 30_000);
  }
}
