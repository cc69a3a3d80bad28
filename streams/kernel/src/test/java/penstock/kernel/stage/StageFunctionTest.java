package penstock.kernel.stage;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.List;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventPosition;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;
import penstock.kernel.window.EntityStateSerializer;

/** A stage as an operator: its output, and how it continues after a restore. */
class StageFunctionTest {
  private static final long WAIT_MS = 10_000;

  /** Five seconds for the windows, and a minute that an event may be ahead of the clock. */
  private static final long EXPIRY_MS = 5_000 + 60_000 + WAIT_MS;

  private static final String COUNT = Plans.feature("n", "count", null, 1_000, 100);
  private static final String SUM = Plans.feature("sum", "sum", "x", 5_000, 500);
  private static final String DISTINCT = Plans.feature("d", "approx_distinct", "x", 1_000, 100);
  private static final String ONE_VIEW = Plans.plan(Plans.view("a", "h1", COUNT, SUM, DISTINCT));

  private static KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness(
      String planJson, long submissionMs, OperatorSubtaskState state) throws Exception {
    return Plans.harness(
        new StageFunction(planJson, "e", true, submissionMs, WAIT_MS, true, null),
        planJson,
        state,
        1,
        1,
        0);
  }

  private static ViewValues send(
      KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness,
      String planJson,
      String id,
      long time,
      String key,
      Double x)
      throws Exception {
    harness.getOutput().clear();
    harness.processElement(Plans.event(Plan.parse(planJson), id, time, key, x), time);
    List<Event> out = harness.extractOutputValues();
    return out.isEmpty() ? null : out.get(0).views[0];
  }

  @Test
  void aRestoredStageContinuesSequenceEpochWindowsAndMemoryOfDuplicates() throws Exception {
    OperatorSubtaskState state;
    try (var before = harness(ONE_VIEW, 7, null)) {
      send(before, ONE_VIEW, "1", 100, "k", 2.0);
      send(before, ONE_VIEW, "2", 350, "k", 3.0);
      state = before.snapshot(1, 1);
    }
    try (var after = harness(ONE_VIEW, 99, state)) {
      assertNull(send(after, ONE_VIEW, "2", 350, "k", 3.0), "a duplicate of before the restore");
      ViewValues view = send(after, ONE_VIEW, "3", 400, "k", 2.0);
      assertEquals(7, view.epoch());
      assertEquals(3, view.seq());
      assertEquals(List.of(3L, 7.0, 2L), List.of(view.features()));
    }
  }

  /** A stage on a backend that keeps states as bytes: they stay objects until a snapshot begins. */
  private static KeyedOneInputStreamOperatorTestHarness<String, Event, Event> onBytes(
      OperatorSubtaskState state) throws Exception {
    StageFunction function =
        new StageFunction(ONE_VIEW, "e", true, 7, WAIT_MS, true, null) {
          @Override
          boolean keepsBytes(KeyedStateBackend<String> backend) {
            return true;
          }
        };
    return Plans.harness(function, ONE_VIEW, state, 1, 1, 0);
  }

  @Test
  void onABackendOfBytesASnapshotHasTheStatesOfAllEntities() throws Exception {
    OperatorSubtaskState state;
    try (var before = onBytes(null)) {
      send(before, ONE_VIEW, "1", 100, "k", 2.0);
      send(before, ONE_VIEW, "2", 350, "other", 3.0);
      assertEquals(0, before.numKeyedStateEntries(), "nothing is written before the snapshot");
      state = before.snapshot(1, 1);
    }
    try (var between = onBytes(state)) {
      assertEquals(2, send(between, ONE_VIEW, "3", 400, "k", 2.0).seq());
      between.snapshot(2, 2);
      assertEquals(3, send(between, ONE_VIEW, "4", 410, "k", 2.0).seq());
      state = between.snapshot(3, 3);
    }
    try (var after = onBytes(state)) {
      assertNull(send(after, ONE_VIEW, "2", 350, "other", 3.0), "a duplicate");
      assertNull(send(after, ONE_VIEW, "4", 410, "k", 3.0), "a duplicate");
      assertEquals(2, send(after, ONE_VIEW, "5", 400, "other", 2.0).seq());
      ViewValues view = send(after, ONE_VIEW, "6", 500, "k", 1.0);
      assertEquals(4, view.seq());
      assertEquals(List.of(4L, 7.0, 2L), List.of(view.features()));
    }
  }

  @Test
  void aRecordNamesTheUpdatingEventsSinceTheLastOneAlsoAfterARestore() throws Exception {
    String plan = Plans.withUpdates(ONE_VIEW);
    OperatorSubtaskState state;
    try (var before = harness(plan, 7, null)) {
      send(before, plan, "1", 100, "k", 2.0);
      update(before, plan, 40);
      update(before, plan, 7);
      state = before.snapshot(1, 1);
    }
    try (var after = harness(plan, 7, state)) {
      update(after, plan, 41);
      ViewValues view = send(after, plan, "2", 120, "k", 2.0);
      assertEquals(5, view.seq());
      assertEquals(List.of(40L, 7L, 41L), view.updates().stream().map(at -> at.offset()).toList());
      assertEquals(new EventPosition(1, 3, 40), view.updates().get(0));
      assertEquals(List.of(), send(after, plan, "3", 130, "k", 2.0).updates());
    }
  }

  @Test
  void entitiesWhoseTimeIsAheadOfTheClockAreCounted() throws Exception {
    StageFunction function = new StageFunction(ONE_VIEW, "e", true, 7, WAIT_MS, true, null);
    try (var harness = Plans.harness(function, ONE_VIEW, null, 1, 1, 0)) {
      harness.setProcessingTime(1_000);
      send(harness, ONE_VIEW, "1", 61_000, "k", 2.0);
      assertEquals(0, function.ahead.getCount());
      send(harness, ONE_VIEW, "2", 61_001, "k", 2.0);
      send(harness, ONE_VIEW, "3", 1_000, "k", 2.0);
      send(harness, ONE_VIEW, "4", 1_000, "other", 2.0);
      assertEquals(2, function.ahead.getCount());
    }
  }

  @Test
  void ofTooManyUpdatingEventsNoneIsNamedAndThoseAfterTheNextRecordAreAgain() throws Exception {
    String plan = Plans.withUpdates(ONE_VIEW);
    try (var stage = harness(plan, 7, null)) {
      for (int i = 0; i < 1_001; i++) {
        update(stage, plan, i);
      }
      assertNull(send(stage, plan, "1", 100, "k", 2.0).updates());
      update(stage, plan, 2_000);
      assertEquals(1, send(stage, plan, "2", 100, "k", 2.0).updates().size());
    }
  }

  @Test
  void aStateOfAPlanWithoutUpdatingEventsContinuesUnderOneThatHasThem() throws Exception {
    OperatorSubtaskState state;
    try (var before = harness(ONE_VIEW, 7, null)) {
      send(before, ONE_VIEW, "1", 100, "k", 2.0);
      state = before.snapshot(1, 1);
    }
    String plan = Plans.withUpdates(ONE_VIEW);
    try (var between = harness(plan, 99, state)) {
      update(between, plan, 40);
      state = between.snapshot(2, 2);
    }
    try (var after = harness(plan, 100, state)) {
      ViewValues view = send(after, plan, "2", 120, "k", 2.0);
      assertEquals(List.of(7L, 3L), List.of(view.epoch(), view.seq()));
      assertEquals(List.of(new EventPosition(1, 3, 40)), view.updates());
    }
  }

  private static void update(
      KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness,
      String planJson,
      long offset)
      throws Exception {
    Event event = Plans.event(Plan.parse(planJson), "u" + offset, 110, "k", null);
    event.source = 1;
    event.partition = 3;
    event.offset = offset;
    harness.processElement(event, 110);
  }

  @ParameterizedTest
  @CsvSource({"c,true", "d,false"})
  void theTopicsOfOneContractThatAreScoredShareTheirIds(String contract, boolean isDuplicate)
      throws Exception {
    String plan =
        Plans.withUpdates(ONE_VIEW)
            .replace("\"contract\": \"d\"", "\"contract\": \"" + contract + "\"")
            .replace("\"triggers\": false", "\"triggers\": true");
    try (var stage = harness(plan, 7, null)) {
      send(stage, plan, "1", 100, "k", 2.0);
      stage.getOutput().clear();
      Event copy = Plans.event(Plan.parse(plan), "1", 100, "k", 2.0);
      copy.source = 1;
      stage.processElement(copy, 100);
      assertEquals(isDuplicate ? 0 : 1, stage.extractOutputValues().size());
    }
  }

  @Test
  void aNewViewStartsEmptyInANewEpochAndAnOldOneContinues() throws Exception {
    String twoViews =
        Plans.plan(Plans.view("b", "h2", COUNT), Plans.view("a", "h1", COUNT, SUM, DISTINCT));
    OperatorSubtaskState state;
    try (var before = harness(ONE_VIEW, 7, null)) {
      send(before, ONE_VIEW, "1", 1_000, "k", 2.0);
      send(before, ONE_VIEW, "1", 1_000, "untouched", 2.0);
      state = before.snapshot(1, 1);
    }
    OperatorSubtaskState later;
    try (var after = harness(twoViews, 99, state)) {
      send(after, twoViews, "2", 500, "k", 3.0);
      ViewValues[] views = after.extractOutputValues().get(0).views;
      assertEquals(new ViewValues("k", 99, 1, 500, false, null), bare(views[0]));
      assertEquals(List.of(1L), List.of(views[0].features()));
      assertEquals(new ViewValues("k", 7, 2, 1_000, false, null), bare(views[1]));
      assertEquals(List.of(2L, 5.0, 2L), List.of(views[1].features()));
      later = after.snapshot(2, 2);
    }
    try (var again = harness(twoViews, 100, later)) {
      send(again, twoViews, "3", 1_000, "untouched", 1.0);
      ViewValues[] views = again.extractOutputValues().get(0).views;
      assertEquals(99, views[0].epoch());
      assertEquals(2, views[1].seq());
    }
  }

  private static ViewValues bare(ViewValues view) {
    return new ViewValues(view.entity(), view.epoch(), view.seq(), view.asOf(), view.late(), null);
  }

  @Test
  void aChangedViewStartsWithoutTheOldTiles() throws Exception {
    String changed = Plans.plan(Plans.view("a", "another", SUM, COUNT));
    OperatorSubtaskState state;
    try (var before = harness(ONE_VIEW, 7, null)) {
      send(before, ONE_VIEW, "1", 100, "k", 2.0);
      state = before.snapshot(1, 1);
    }
    try (var after = harness(changed, 99, state)) {
      ViewValues view = send(after, changed, "2", 150, "k", 3.0);
      assertEquals(List.of(3.0, 1L), List.of(view.features()));
      assertEquals(99, view.epoch());
    }
  }

  @Test
  void windowsOfAColumnThatHasAnotherTypeNowAreRefused() throws Exception {
    OperatorSubtaskState state;
    try (var before = harness(ONE_VIEW, 7, null)) {
      send(before, ONE_VIEW, "1", 100, "k", 2.0);
      state = before.snapshot(1, 1);
    }
    String whole =
        ONE_VIEW
            .replace("\"name\": \"x\", \"type\": \"double\"", "\"name\": \"x\", \"type\": \"long\"")
            .replace("\"column_type\": \"double\"", "\"column_type\": \"long\"")
            .replace("[[\"x\", \"double\"]]", "[[\"x\", \"long\"]]");
    Exception refused = assertThrows(Exception.class, () -> harness(whole, 99, state));
    String text = Plans.messages(refused);
    assertTrue(text.contains("must not be incompatible"), text);
  }

  @Test
  void anEventWithoutTheEntityPassesWithoutAView() throws Exception {
    try (var harness = harness(ONE_VIEW, 7, null)) {
      assertNull(send(harness, ONE_VIEW, "1", 100, null, 2.0));
      assertEquals(1, harness.extractOutputValues().size());
    }
  }

  private static ViewValues sendAt(
      KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness,
      String planJson,
      String id,
      long nowMs,
      String key)
      throws Exception {
    harness.setProcessingTime(nowMs);
    harness.setStateTtlProcessingTime(nowMs);
    return send(harness, planJson, id, nowMs, key, 2.0);
  }

  @Test
  void anEntityThatWasIdleForLongStartsAgainInAGreaterEpochWithTheSameValues() throws Exception {
    try (var harness = harness(ONE_VIEW, 1_000, null);
        var unbroken = harness(ONE_VIEW, 1_000, null)) {
      long back = 9_000 + EXPIRY_MS;
      for (var each : List.of(harness, unbroken)) {
        sendAt(each, ONE_VIEW, "1", 2_000, "k");
        sendAt(each, ONE_VIEW, "2", 9_000, "k");
      }
      ViewValues again = sendAt(harness, ONE_VIEW, "3", back, "k");
      unbroken.setProcessingTime(back);
      ViewValues kept = send(unbroken, ONE_VIEW, "3", back, "k", 2.0);
      assertEquals(3, kept.seq());
      assertEquals(1_000, kept.epoch());
      assertEquals(1, again.seq());
      assertEquals(1_000 + EXPIRY_MS, again.epoch());
      assertEquals(List.of(kept.features()), List.of(again.features()));
      assertEquals(kept.asOf(), again.asOf());
    }
  }

  @Test
  void anEntityIsKeptWhileItIsIdleForItsLongestWindowAndWhatAnEventMayWait() throws Exception {
    try (var harness = harness(ONE_VIEW, 1_000, null)) {
      sendAt(harness, ONE_VIEW, "1", 2_000, "k");
      assertEquals(2, sendAt(harness, ONE_VIEW, "2", 1_999 + EXPIRY_MS, "k").seq());
    }
  }

  @Test
  void theStateOfIdleEntitiesExpires() throws Exception {
    try (var harness = harness(ONE_VIEW, 1_000, null)) {
      for (int i = 0; i < 100; i++) {
        sendAt(harness, ONE_VIEW, "first" + i, 2_000, "k" + i);
      }
      int kept = harness.numKeyedStateEntries();
      for (int i = 0; i < 400; i++) {
        sendAt(harness, ONE_VIEW, "later" + i, 2_000 + 2 * EXPIRY_MS, "busy");
      }
      assertEquals(200, kept, "windows and the memory of duplicates of each");
      assertEquals(2, harness.numKeyedStateEntries());
    }
  }

  @Test
  void theStateOfALifetimeWindowNeverExpires() throws Exception {
    String lifetime =
        Plans.plan(
            Plans.view("a", "h1", COUNT, Plans.feature("all", "count", null, 1L << 62, 1L << 61)));
    try (var harness = harness(lifetime, 1_000, null)) {
      sendAt(harness, lifetime, "1", 2_000, "k");
      ViewValues view = sendAt(harness, lifetime, "2", 2_000 + 1_000 * EXPIRY_MS, "k");
      assertEquals(List.of(1L, 2L), List.of(view.features()));
      assertEquals(1_000, view.epoch());
    }
  }

  @Test
  void laterEventsDoNotChangeARunningSnapshot() throws Exception {
    OperatorSubtaskState state;
    try (var harness = harness(ONE_VIEW, 7, null)) {
      for (int i = 0; i < 200; i++) {
        send(harness, ONE_VIEW, "id" + i, i * 10L, "k", (double) i);
      }
      state = harness.snapshot(1, 1);
      for (int i = 200; i < 400; i++) {
        send(harness, ONE_VIEW, "id" + i, i * 10L, "k", (double) i);
      }
    }
    try (var restored = harness(ONE_VIEW, 7, state)) {
      assertEquals(201, send(restored, ONE_VIEW, "id200", 2_000, "k", 200.0).seq());
    }
  }

  @Test
  void aSavepointOfAnotherFormatIsRejected() {
    var snapshot = new EntityStateSerializer.EntityStateSnapshot();
    var empty = new DataInputDeserializer(new byte[0]);
    var error = assertThrows(IOException.class, () -> snapshot.readSnapshot(1, empty, null));
    assertTrue(error.getMessage().startsWith("the savepoint has entity states of format 1"));
  }
}
