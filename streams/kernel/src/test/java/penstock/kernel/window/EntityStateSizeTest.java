package penstock.kernel.window;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.plan.Plan;

/** The size of an entity's state in a checkpoint and in RocksDB. */
class EntityStateSizeTest {
  private static final int TILES = 60;
  private static final String PLAN =
      Plans.plan(
          Plans.view(
              "a",
              "h",
              Plans.feature("n", "count", null, 60_000, 1_000),
              Plans.feature("mean", "mean", "x", 60_000, 1_000),
              Plans.feature("long", "sum", "x", 3_600_000, 60_000)));

  /** Bytes of an entity after {@code events} events, {@code apartMs} apart. */
  private static int size(int events, long apartMs) throws IOException {
    Plan plan = Plan.parse(PLAN);
    StageSpec spec = StageSpec.of(plan, "e");
    EntityState state = spec.newState();
    for (int i = 0; i < events; i++) {
      spec.update(state, Plans.event(plan, "id" + i, i * apartMs, "k", 1.0 * i), "k", view -> 1);
    }
    DataOutputSerializer out = new DataOutputSerializer(256);
    new EntityStateSerializer(PLAN, "e").serialize(state, out);
    return out.length();
  }

  @Test
  void aSparseEntityCostsInProportionToItsEvents() throws IOException {
    int none = size(0, 1);
    int each = size(1, 60_000) - none;
    // A minute apart: the short window has one tile left, the long one all.
    for (int events = 2; events <= TILES; events++) {
      assertTrue(size(events, 60_000) <= none + events * each, events + " events");
    }
    assertTrue(none < 40, none + " bytes without any event");
    assertTrue(each < 60, each + " bytes for one event in two windows");
  }

  @Test
  void aHotEntityCostsNoMoreThanItsTiles() throws IOException {
    int none = size(0, 1);
    int full = none + 2 * (TILES + 1) * (size(1, 1) - none);
    assertTrue(size(20_000, 180) <= full, "an hour");
    assertEquals(size(1_000, 0), size(10_000, 0), "all in one tile");
  }
}
