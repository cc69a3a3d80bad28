package penstock.kernel.order;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.util.AbstractStreamOperatorTestHarness;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** Sorting by event time. */
class EventTimeSorterTest {
  private static final String COUNT = Plans.feature("n", "count", null, 1_000, 100);
  private static final String SUM = Plans.feature("sum", "sum", "x", 5_000, 500);
  private static final String PLAN = Plans.plan(Plans.view("a", "h1", COUNT, SUM));

  private static KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness(
      String planJson, OperatorSubtaskState state) throws Exception {
    return Plans.harness(new EventTimeSorter(planJson, true), planJson, state, 128, 1, 0);
  }

  private static KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness(
      String planJson, OperatorSubtaskState state, int tasks, int task) throws Exception {
    return Plans.harness(new EventTimeSorter(planJson, true), planJson, state, 128, tasks, task);
  }

  private static Event event(String id, long time, String key, int partition, long offset) {
    Event event = Plans.event(Plan.parse(PLAN), id, time, key, 2.0);
    event.partition = partition;
    event.offset = offset;
    return event;
  }

  private static List<String> passed(AbstractStreamOperatorTestHarness<Event> harness) {
    List<String> ids = harness.extractOutputValues().stream().map(event -> event.id).toList();
    harness.getOutput().clear();
    return ids;
  }

  @Test
  void eventsPassByTimePartitionAndOffsetOnceTheWatermarkHasPassedThem() throws Exception {
    try (var harness = harness(PLAN, null)) {
      harness.processElement(event("d", 7, "k", 1, 3), 7);
      harness.processElement(event("c", 7, "k", 0, 9), 7);
      harness.processElement(event("b", 7, "k", 0, 8), 7);
      harness.processElement(event("a", 5, "k", 2, 1), 5);
      harness.processElement(event("e", 9, "k", 0, 2), 9);
      assertEquals(List.of(), passed(harness));
      harness.processWatermark(6);
      assertEquals(List.of("a"), passed(harness));
      harness.processWatermark(8);
      assertEquals(List.of("b", "c", "d"), passed(harness));
      harness.processWatermark(Long.MAX_VALUE);
      assertEquals(List.of("e"), passed(harness));
      assertEquals(0, harness.numKeyedStateEntries());
    }
  }

  @Test
  void anEventBehindTheWatermarkPassesAtOnce() throws Exception {
    try (var harness = harness(PLAN, null)) {
      harness.processWatermark(6);
      harness.processElement(event("late", 6, "k", 0, 1), 6);
      harness.processElement(event("in time", 7, "k", 0, 2), 7);
      assertEquals(List.of("late"), passed(harness));
    }
  }

  @Test
  void bufferedEventsAreInTheSnapshotAndLeaveFromTheTaskOfTheirKey() throws Exception {
    OperatorSubtaskState state;
    try (var harness = harness(PLAN, null)) {
      for (int i = 0; i < 20; i++) {
        harness.processElement(event("id" + i, 100 - i, "key" + i, 0, i), 100 - i);
      }
      state = harness.snapshot(1, 1);
    }
    int released = 0;
    for (int task = 0; task < 2; task++) {
      OperatorSubtaskState part =
          AbstractStreamOperatorTestHarness.repartitionOperatorState(state, 128, 1, 2, task);
      try (var harness = harness(PLAN, part, 2, task)) {
        harness.processWatermark(Long.MAX_VALUE);
        released += passed(harness).size();
      }
    }
    assertEquals(20, released);
  }

  @Test
  void bufferedEventsOfAnotherPlanKeepUnchangedColumnsAndViews() throws Exception {
    String later = Plans.plan(Plans.view("b", "h2", COUNT), Plans.view("a", "h1", COUNT, SUM));
    OperatorSubtaskState state;
    ViewValues values = new ViewValues("k", 1, 2, 5, false, new Object[] {3L, 4.0});
    try (var harness = harness(PLAN, null)) {
      Event buffered = event("id", 5, "k", 0, 1);
      buffered.views[0] = values;
      harness.processElement(buffered, 5);
      state = harness.snapshot(1, 1);
    }
    try (var harness = harness(later, state)) {
      harness.processWatermark(5);
      Event found = harness.extractOutputValues().get(0);
      assertNull(found.views[0]);
      assertEquals(2, found.views[1].seq());
      assertEquals(List.of(3L, 4.0), List.of(found.views[1].features()));
      int index = ColumnLayout.needed(Plan.parse(later)).indexOf("x");
      assertEquals(2.0, found.columns[index]);
    }
  }

  @Test
  void bufferedEventsWithAColumnThatHasAnotherTypeNowAreRefused() throws Exception {
    OperatorSubtaskState state;
    try (var harness = harness(PLAN, null)) {
      harness.processElement(event("id", 5, "k", 0, 1), 5);
      state = harness.snapshot(1, 1);
    }
    // Another version of the view: its state would start empty, the column's values would not.
    String whole =
        Plans.plan(Plans.view("a", "h2", COUNT, SUM))
            .replace("\"name\": \"x\", \"type\": \"double\"", "\"name\": \"x\", \"type\": \"long\"")
            .replace("[[\"x\", \"double\"]]", "[[\"x\", \"long\"]]");
    Exception refused = assertThrows(Exception.class, () -> harness(whole, state));
    String text = Plans.messages(refused);
    assertTrue(text.contains("must not be incompatible"), text);
  }
}
