package penstock.kernel.stage;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The memory of ids compared with a map of all ids, over random events. */
class SeenIdsTest {
  private static byte[] bytes(SeenIds ids) throws IOException {
    DataOutputSerializer out = new DataOutputSerializer(64);
    ids.write(out);
    return out.getCopyOfBuffer();
  }

  private static SeenIds restored(SeenIds ids) throws IOException {
    return SeenIds.read(new DataInputDeserializer(bytes(ids)));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 60, 5_000})
  void anIdIsADuplicateWithinTheHorizonOfTheLatestNewOne(int differentIds) throws IOException {
    for (int seed = 0; seed < 20; seed++) {
      Random random = new Random(seed);
      long horizon = new long[] {1, 50, 5_000, Long.MAX_VALUE}[seed % 4];
      SeenIds seen = new SeenIds();
      Map<String, Long> all = new HashMap<>();
      long latest = Long.MIN_VALUE;
      long clock = 0;
      for (int i = 0; i < 3_000; i++) {
        clock += random.nextInt(20) == 0 ? random.nextInt(200) : random.nextInt(3);
        long time = clock - (random.nextInt(3) == 0 ? random.nextInt(120) : 0);
        String id = "é".repeat(random.nextInt(3)) + random.nextInt(differentIds);
        long now = Math.max(latest, time);
        boolean isNew = !all.containsKey(id) || now - all.get(id) >= horizon;
        assertEquals(isNew, seen.addIfNew(id, time, horizon), "seed " + seed + ", event " + i);
        if (isNew) {
          latest = now;
          all.put(id, time);
        }
        if (random.nextInt(200) == 0) {
          SeenIds copy = seen.copy();
          assertArrayEquals(bytes(seen), bytes(restored(copy)));
          seen.addIfNew("another", clock, horizon);
          seen = random.nextBoolean() ? copy : restored(copy);
        }
      }
    }
  }

  @Test
  void expiredIdsTakeNoRoom() throws IOException {
    SeenIds seen = new SeenIds();
    for (int i = 0; i < 1_000; i++) {
      assertTrue(seen.addIfNew("a-long-id-" + i, i, 2_000));
    }
    assertTrue(seen.bytes() > 20_000, seen.bytes() + " bytes");
    assertTrue(seen.addIfNew("last", 10_000, 2_000));
    assertFalse(seen.addIfNew("last", 10_000, 2_000));
    assertTrue(bytes(seen).length < 30);
    assertTrue(seen.bytes() < 20, seen.bytes() + " bytes");
  }
}
