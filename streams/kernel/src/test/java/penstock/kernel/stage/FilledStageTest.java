package penstock.kernel.stage;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.runtime.checkpoint.StateObjectCollection;
import org.apache.flink.runtime.state.KeyedStateHandle;
import org.apache.flink.runtime.state.OperatorStateHandle;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** A stage that begins with the state of a live job and the views that a fill has computed. */
class FilledStageTest {
  private static final String COUNT = Plans.feature("n", "count", null, 1_000, 100);
  private static final String SUM = Plans.feature("s", "sum", "x", 5_000, 500);
  private static final String LIVE = Plans.plan(Plans.view("a", "h1", COUNT));
  private static final String NEW = Plans.plan(Plans.view("b", "h2", SUM));
  private static final String BOTH =
      Plans.plan(Plans.view("a", "h1", COUNT), Plans.view("b", "h2", SUM));

  private static KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness(
      String planJson, long submissionMs, String fillState, OperatorSubtaskState state)
      throws Exception {
    return Plans.harness(
        new StageFunction(planJson, "e", fillState == null, submissionMs, 10_000, false, fillState),
        planJson,
        state,
        1,
        1,
        0);
  }

  private static ViewValues[] send(
      KeyedOneInputStreamOperatorTestHarness<String, Event, Event> harness,
      String planJson,
      int number,
      String key)
      throws Exception {
    harness.getOutput().clear();
    harness.processElement(
        Plans.event(Plan.parse(planJson), "id" + number, number * 10L, key, 1.0 * number),
        number * 10L);
    List<Event> out = harness.extractOutputValues();
    return out.isEmpty() ? null : out.get(0).views;
  }

  private static OperatorSubtaskState after(
      String planJson, long submissionMs, String fillState, int events) throws Exception {
    try (var harness = harness(planJson, submissionMs, fillState, null)) {
      for (int i = 1; i <= events; i++) {
        send(harness, planJson, i, i % 2 == 0 ? "even" : "odd");
      }
      return harness.snapshot(1, 1);
    }
  }

  /** As a savepoint that {@code Savepoints.join} has written gives it to a subtask. */
  private static OperatorSubtaskState joined(
      OperatorSubtaskState live, OperatorSubtaskState filled) {
    List<KeyedStateHandle> keyed = new ArrayList<>(live.getManagedKeyedState());
    keyed.addAll(filled.getManagedKeyedState());
    List<OperatorStateHandle> operator = new ArrayList<>(live.getManagedOperatorState());
    operator.addAll(filled.getManagedOperatorState());
    return OperatorSubtaskState.builder()
        .setManagedKeyedState(new StateObjectCollection<>(keyed))
        .setManagedOperatorState(new StateObjectCollection<>(operator))
        .build();
  }

  @Test
  void bothViewsContinueAsIfTheyHadAlwaysRunTogether() throws Exception {
    OperatorSubtaskState live = after(LIVE, 7, null, 20);
    OperatorSubtaskState filled = after(NEW, 50, "filled-r", 20);
    OperatorSubtaskState later;
    try (var harness = harness(BOTH, 99, null, joined(live, filled));
        var together = harness(BOTH, 99, null, after(BOTH, 7, null, 20))) {
      assertNull(send(harness, BOTH, 20, "even"), "a duplicate of before the takeover");
      for (int i = 21; i <= 30; i++) {
        ViewValues[] views = send(harness, BOTH, i, i % 2 == 0 ? "even" : "odd");
        ViewValues[] expected = send(together, BOTH, i, i % 2 == 0 ? "even" : "odd");
        assertEquals(List.of(7L, 50L), List.of(views[0].epoch(), views[1].epoch()));
        for (int view = 0; view < 2; view++) {
          assertEquals(expected[view].seq(), views[view].seq());
          assertEquals(List.of(expected[view].features()), List.of(views[view].features()));
        }
      }
      assertEquals(50, send(harness, BOTH, 31, "new")[1].epoch(), "of an entity without history");
      later = harness.snapshot(2, 2);
    }
    try (var harness = harness(BOTH, 100, null, later)) {
      assertEquals(16, send(harness, BOTH, 32, "even")[1].seq(), "was joined a second time");
    }
  }

  @Test
  void afterAFailureBeforeTheFirstCheckpointItIsJoinedAgain() throws Exception {
    OperatorSubtaskState state = joined(after(LIVE, 7, null, 20), after(NEW, 50, "filled-r", 20));
    for (int attempt = 0; attempt < 2; attempt++) {
      try (var harness = harness(BOTH, 99, null, state)) {
        ViewValues[] views = send(harness, BOTH, 21, "odd");
        assertEquals(List.of(11L, 11L), List.of(views[0].seq(), views[1].seq()));
      }
    }
  }

  @Test
  void aJobWithoutTheViewsGoesOnWithItsOwn() throws Exception {
    OperatorSubtaskState state = joined(after(LIVE, 7, null, 20), after(NEW, 50, "filled-r", 20));
    try (var harness = harness(LIVE, 99, null, state)) {
      ViewValues view = send(harness, LIVE, 21, "odd")[0];
      assertEquals(List.of(7L, 11L), List.of(view.epoch(), view.seq()));
    }
  }

  @Test
  void aFillContinuesFromItsOwnState() throws Exception {
    try (var harness = harness(NEW, 60, "filled-r", after(NEW, 50, "filled-r", 20))) {
      ViewValues view = send(harness, NEW, 21, "odd")[0];
      assertEquals(List.of(50L, 11L), List.of(view.epoch(), view.seq()));
    }
  }
}
