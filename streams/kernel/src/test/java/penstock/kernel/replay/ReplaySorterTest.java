package penstock.kernel.replay;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.decode.RawRecordSerializer;

/** The order of a replay does not depend on the order in which partitions are read. */
class ReplaySorterTest {
  private static OneInputStreamOperatorTestHarness<RawRecord, RawRecord> harness(
      OperatorSubtaskState state) throws Exception {
    var harness = new OneInputStreamOperatorTestHarness<RawRecord, RawRecord>(new ReplaySorter(0));
    harness.setup(new RawRecordSerializer());
    if (state != null) {
      harness.initializeState(state);
    }
    harness.open();
    return harness;
  }

  private static RawRecord record(int partition, long offset, long timestamp) {
    return record(0, partition, offset, timestamp);
  }

  private static RawRecord record(int source, int partition, long offset, long timestamp) {
    byte[] key = {(byte) partition};
    return new RawRecord(source, partition, offset, timestamp, key, null, List.of());
  }

  private static List<String> places(List<RawRecord> records) {
    return records.stream().map(record -> record.partition() + "@" + record.offset()).toList();
  }

  private static List<String> replayed(
      OneInputStreamOperatorTestHarness<RawRecord, RawRecord> harness) {
    return places(harness.extractOutputValues());
  }

  @Test
  void tiesAreSortedByPartitionAndThenByOffset() throws Exception {
    try (var harness = harness(null)) {
      harness.processElement(record(1, 0, 5), 5);
      harness.processElement(record(1, 1, 5), 5);
      harness.processElement(record(0, 7, 5), 5);
      harness.processElement(record(0, 8, 6), 6);
      harness.processWatermark(5);
      assertEquals(List.of("0@7", "1@0", "1@1"), replayed(harness));
    }
  }

  @Test
  void aPartitionKeepsTheOrderOfItsOffsetsWhereItsTimestampsGoBack() throws Exception {
    try (var harness = harness(null)) {
      harness.processElement(record(0, 0, 9), 9);
      harness.processElement(record(0, 1, 3), 3);
      harness.processElement(record(1, 0, 4), 4);
      harness.processWatermark(Long.MAX_VALUE);
      assertEquals(List.of("1@0", "0@0", "0@1"), replayed(harness));
    }
  }

  @Test
  void partitionsOfOneNumberAreDistinctBetweenSources() throws Exception {
    try (var harness = harness(null)) {
      harness.processElement(record(1, 0, 0, 5), 5);
      harness.processElement(record(0, 0, 7, 5), 5);
      harness.processElement(record(1, 0, 1, 9), 9);
      harness.processElement(record(0, 0, 8, 6), 6);
      OperatorSubtaskState state = harness.snapshot(1, 1);
      try (var restored = harness(state)) {
        restored.processElement(record(0, 0, 9, 2), 2);
        restored.processElement(record(1, 0, 2, 7), 7);
        restored.processWatermark(Long.MAX_VALUE);
        assertEquals(List.of("0@7", "0@0", "0@8", "0@9", "0@1", "0@2"), replayed(restored));
      }
    }
  }

  @Test
  void aPartitionThatIsReadLateIsWaitedFor() throws Exception {
    try (var harness = harness(null)) {
      harness.processElement(record(0, 0, 10), 10);
      harness.processElement(record(0, 1, 20), 20);
      assertEquals(List.of(), replayed(harness));
      harness.processElement(record(1, 0, 1), 1);
      harness.processWatermark(0);
      harness.processElement(record(1, 1, 15), 15);
      harness.processWatermark(14);
      assertEquals(List.of("1@0", "0@0"), replayed(harness));
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5})
  void aReplayRestoredAtAnyPointContinuesInTheSameOrder(long seed) throws Exception {
    Random random = new Random(seed);
    List<List<RawRecord>> partitions = new ArrayList<>();
    List<QueuedRecord> expected = new ArrayList<>();
    for (int partition = 0; partition < 4; partition++) {
      List<RawRecord> records = new ArrayList<>();
      long clock = 0;
      long latest = Long.MIN_VALUE;
      // The last partition is empty.
      for (int offset = 0; offset < (partition == 3 ? 0 : 60 * (partition + 1)); offset++) {
        clock += random.nextInt(4) - 1;
        latest = Math.max(latest, clock);
        records.add(record(partition, offset, clock));
        expected.add(new QueuedRecord(latest, records.get(offset)));
      }
      partitions.add(records);
    }
    expected.sort(
        Comparator.comparingLong(QueuedRecord::time)
            .thenComparing(queued -> queued.record().partition())
            .thenComparing(queued -> queued.record().offset()));

    List<String> got = new ArrayList<>();
    Map<Integer, Integer> read = new HashMap<>();
    Map<Integer, Long> latest = new HashMap<>();
    var harness = harness(null);
    while (partitions.stream().anyMatch(records -> !records.isEmpty())) {
      List<Integer> open = new ArrayList<>();
      for (int partition = 0; partition < partitions.size(); partition++) {
        if (!partitions.get(partition).isEmpty()) {
          open.add(partition);
        }
      }
      int partition = open.get(random.nextInt(open.size()));
      RawRecord next = partitions.get(partition).remove(0);
      harness.processElement(next, next.timestamp());
      read.merge(partition, 1, Integer::sum);
      latest.merge(partition, next.timestamp(), Math::max);
      if (random.nextInt(5) == 0) {
        // Flink combines the splits' watermarks the same way: finished splits are ignored.
        List<Long> marks =
            open.stream()
                .filter(p -> !partitions.get(p).isEmpty())
                .map(p -> latest.getOrDefault(p, Long.MIN_VALUE))
                .toList();
        if (!marks.isEmpty() && Collections.min(marks) > Long.MIN_VALUE) {
          harness.processWatermark(Collections.min(marks) - 1);
        }
      }
      if (random.nextInt(20) == 0) {
        OperatorSubtaskState state = harness.snapshot(1, 1);
        got.addAll(replayed(harness));
        harness.close();
        harness = harness(state);
      }
    }
    harness.processWatermark(Long.MAX_VALUE);
    got.addAll(replayed(harness));
    harness.close();
    assertEquals(places(expected.stream().map(QueuedRecord::record).toList()), got);
  }
}
