package penstock.kernel.stage;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** Timers emit the features of an idle entity and do not change its state. */
class RefresherTest {
  private static final long REFRESH = 100;
  private static final String COUNT = Plans.feature("n", "count", null, 1_000, 10);
  private static final String LONG = Plans.feature("sum", "sum", "x", 5_000, 500);
  private static final String Z = Plans.feature("z", "zscore", "x", 1_000, 10);
  private static final String PLAN = plan(Plans.view("a", "h1", COUNT, LONG, Z));
  private static final String SILENT = Plans.plan(Plans.view("a", "h1", COUNT, LONG, Z));

  private static String plan(String... views) {
    return Plans.plan(
        Arrays.stream(views)
            .map(view -> view.replaceFirst("\\{", "{\"refresh_ms\": " + REFRESH + ", "))
            .toArray(String[]::new));
  }

  private static KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness(
      String planJson, OperatorSubtaskState state) throws Exception {
    return Plans.harness(
        new StageFunction(planJson, "e", true, 7, 86_400_000, true, null),
        planJson,
        state,
        1,
        1,
        0);
  }

  private static Event send(
      KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness,
      String id,
      long time,
      Double x)
      throws Exception {
    harness.getOutput().clear();
    Event event = Plans.event(Plan.parse(PLAN), id, time, "k", x);
    event.partition = 3;
    event.offset = time;
    harness.processElement(event, time);
    return harness.extractOutputValues().get(0);
  }

  private static List<Event> pass(
      KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness, long watermark)
      throws Exception {
    harness.getOutput().clear();
    harness.processWatermark(watermark);
    return harness.extractOutputValues();
  }

  @Test
  void anIdleEntityIsEmittedAsValuesExpireUntilItsWindowsAreEmpty() throws Exception {
    try (var harness = harness(PLAN, null)) {
      send(harness, "1", 1_000, 2.0);
      send(harness, "2", 1_300, 4.0);
      List<Event> timers = pass(harness, 100_000);

      List<Long> times = timers.stream().map(event -> event.views[0].asOf()).toList();
      assertEquals(3, times.size(), times::toString);
      assertTrue(times.get(0) >= 2_000 && times.get(0) < 2_000 + REFRESH);
      assertTrue(times.get(1) >= 2_300 && times.get(1) < 2_300 + REFRESH);
      assertTrue(times.get(2) >= 6_000 && times.get(2) < 6_000 + REFRESH);
      assertEquals(
          List.of("[1, 6.0, 0.7071067811865475]", "[0, 6.0, null]", "[0, null, null]"),
          timers.stream().map(event -> Arrays.toString(event.views[0].features())).toList());
      for (Event timer : timers) {
        assertTrue(timer.isTimer);
        assertEquals(1_300, timer.time, "that of the newest event");
        assertEquals(List.of(3, 1_300L), List.of(timer.partition, timer.offset));
        assertArrayEquals(new Object[timer.columns.length], timer.columns);
        ViewValues view = timer.views[0];
        assertEquals(List.of("k", 7L, 2L), List.of(view.entity(), view.epoch(), view.seq()));
      }
      assertEquals(0, harness.numEventTimeTimers());
    }
  }

  @Test
  void timersDoNotChangeTheFeaturesOfLaterEvents() throws Exception {
    try (var silent = harness(SILENT, null);
        var harness = harness(PLAN, null)) {
      for (int i = 0; i < 300; i++) {
        long time = 1_000 + i * 97L % 4_000;
        Event with = send(harness, "id" + i, time, (double) i);
        Event without = send(silent, "id" + i, time, (double) i);
        assertArrayEquals(without.views[0].features(), with.views[0].features());
        assertEquals(without.views[0].asOf(), with.views[0].asOf());
        assertEquals(without.views[0].seq(), with.views[0].seq());
        if (i % 7 == 0) {
          pass(harness, time + 900);
          pass(silent, time + 900);
        }
      }
    }
  }

  @Test
  void aBusyEntityIsEmittedByItsEventsAlone() throws Exception {
    try (var harness = harness(PLAN, null)) {
      for (int i = 0; i < 500; i++) {
        send(harness, "id" + i, i * 10L, 1.0);
        assertEquals(List.of(), pass(harness, i * 10L - 50));
      }
      assertTrue(harness.numEventTimeTimers() <= 2, "timers pile up");
    }
  }

  @Test
  void timersGoOnAfterARestore() throws Exception {
    OperatorSubtaskState state;
    try (var harness = harness(PLAN, null)) {
      send(harness, "1", 1_000, 2.0);
      state = harness.snapshot(1, 1);
    }
    try (var harness = harness(PLAN, state)) {
      assertEquals(2, pass(harness, 100_000).size());
    }
    try (var harness = harness(SILENT, state)) {
      assertEquals(List.of(), pass(harness, 100_000), "the view wants no refresh any more");
    }
  }

  @Test
  void aTimerOfAnotherStagePassesUnchanged() throws Exception {
    try (var harness = harness(PLAN, null)) {
      Event timer = Plans.event(Plan.parse(PLAN), "1", 5, "k", null);
      timer.isTimer = true;
      harness.processElement(timer, 5);
      assertEquals(1, harness.extractOutputValues().size());
      assertEquals(null, harness.extractOutputValues().get(0).views[0]);
    }
  }

  @Test
  void entitiesHaveTheirOwnSlotInTheInterval() {
    Set<Long> moments = new HashSet<>();
    for (int i = 0; i < 1_000; i++) {
      long due = Refresher.nextSlot(123_456, 60_000, ("card" + i).hashCode());
      assertTrue(due >= 123_456 && due < 123_456 + 60_000);
      assertEquals(due, Refresher.nextSlot(due, 60_000, ("card" + i).hashCode()));
      moments.add(due / 1_000);
    }
    assertEquals(61, moments.size(), 2, "all seconds of a minute");
    assertEquals(Long.MAX_VALUE, Refresher.nextSlot(Long.MAX_VALUE, 60_000, 5));
  }
}
