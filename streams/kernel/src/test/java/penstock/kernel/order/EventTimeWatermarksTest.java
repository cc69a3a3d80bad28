package penstock.kernel.order;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.junit.jupiter.api.Test;
import penstock.kernel.event.Event;

/** Watermarks from the progress of active and idle partitions. */
class EventTimeWatermarksTest {
  private final List<String> said = new ArrayList<>();
  private final WatermarkOutput output =
      new WatermarkOutput() {
        @Override
        public void emitWatermark(Watermark mark) {
          said.add(String.valueOf(mark.getTimestamp()));
        }

        @Override
        public void markIdle() {
          said.add("idle");
        }

        @Override
        public void markActive() {
          said.add("active");
        }
      };

  private long now = 1_000_000;

  private EventTimeWatermarks live(int partitions) {
    EventTimeWatermarks generator = new EventTimeWatermarks(10, 5_000, partitions, () -> now);
    generator.onPeriodicEmit(output);
    return generator;
  }

  private void pass(EventTimeWatermarks generator, long ms) {
    for (long passed = 0; passed < ms; passed += 200) {
      now += 200;
      generator.onPeriodicEmit(output);
    }
  }

  private void hear(EventTimeWatermarks generator, int partition, long time) {
    hear(generator, partition, time, -1);
  }

  private void hear(EventTimeWatermarks generator, int partition, long time, long timestamp) {
    Event event = new Event();
    event.partition = partition;
    event.time = time;
    event.timestamp = timestamp;
    generator.onEvent(event, time, output);
  }

  @Test
  void aTimeNearTheLeastGivesNoWatermark() {
    EventTimeWatermarks generator = new EventTimeWatermarks(10, 5_000, 1, null);
    hear(generator, 0, Long.MIN_VALUE + 10, 0);
    assertEquals(List.of(), said());
    hear(generator, 0, Long.MAX_VALUE, 0);
    assertEquals(List.of(String.valueOf(Long.MAX_VALUE - 11)), said());
  }

  private List<String> said() {
    List<String> since = List.copyOf(said);
    said.clear();
    return since;
  }

  @Test
  void itStaysTheDisorderBehindTheSlowestPartition() {
    EventTimeWatermarks generator = live(2);
    hear(generator, 0, 1_000);
    hear(generator, 1, 900);
    assertEquals(List.of("889"), said());
    hear(generator, 0, 2_000);
    assertEquals(List.of(), said());
    hear(generator, 1, 1_500);
    assertEquals(List.of("1489"), said());
    assertEquals(511, generator.lagMs());
  }

  @Test
  void anOldEventDoesNotSetItBack() {
    EventTimeWatermarks generator = live(1);
    hear(generator, 0, 1_000);
    hear(generator, 0, 100);
    pass(generator, 1_000);
    assertEquals(List.of("989"), said());
  }

  @Test
  void thereIsNoWatermarkBeforeEveryPartitionHasARecordOrIsIdle() {
    EventTimeWatermarks generator = live(2);
    hear(generator, 0, 1_000);
    pass(generator, 4_800);
    hear(generator, 0, 2_000);
    assertEquals(List.of(), said());
    pass(generator, 400);
    assertEquals(List.of("1989"), said());
  }

  @Test
  void anIdlePartitionIsIgnored() {
    EventTimeWatermarks generator = live(2);
    hear(generator, 0, 1_000);
    hear(generator, 1, 1_000);
    pass(generator, 4_000);
    hear(generator, 0, 3_000);
    assertEquals(List.of("989"), said());
    pass(generator, 1_200);
    assertEquals(List.of("2989"), said());
    hear(generator, 1, 1_100);
    hear(generator, 0, 4_000);
    assertEquals(List.of(), said());
  }

  @Test
  void whenAllAreIdleItMovesOnToTheNewestEventAndTheTaskIsIdle() {
    EventTimeWatermarks generator = live(2);
    hear(generator, 0, 1_000);
    hear(generator, 1, 1_200);
    pass(generator, 6_000);
    assertEquals(List.of("989", "1200", "idle"), said());
    pass(generator, 6_000);
    assertEquals(List.of(), said());
    hear(generator, 1, 1_300);
    assertEquals(List.of("active", "1289"), said());
  }

  @Test
  void aTaskWithoutPartitionsIsIdle() {
    EventTimeWatermarks generator = live(1);
    pass(generator, 6_000);
    assertEquals(List.of("idle"), said());
  }

  @Test
  void aPauseOfTheTaskDoesNotMakePartitionsIdle() {
    EventTimeWatermarks generator = live(1);
    hear(generator, 0, 1_000);
    now += 60_000;
    generator.onPeriodicEmit(output);
    assertEquals(List.of("989"), said());
  }

  @Test
  void aReplayMeasuresIdleTimeByKafkaTimestamps() {
    EventTimeWatermarks generator = new EventTimeWatermarks(10, 5_000, 2, null);
    hear(generator, 0, 1_000, 50_000);
    hear(generator, 1, 1_000, 50_000);
    hear(generator, 0, 3_000, 55_000);
    generator.onPeriodicEmit(output);
    assertEquals(List.of("989"), said());
    hear(generator, 0, 3_500, 55_001);
    assertEquals(List.of("2989", "3489"), said());
    hear(generator, 0, 9_000, 70_000);
    assertEquals(List.of("3500", "8989"), said());
  }
}
