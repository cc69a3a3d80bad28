package penstock.kernel.window;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/** Open and packed states. */
class EntityStateTest {
  private static final String PLAN_JSON =
      Plans.plan(
          Plans.view(
              "a",
              "h",
              Plans.feature("mean", "mean", "x", 60_000, 1_000),
              Plans.feature("min", "min", "x", 60_000, 1_000),
              Plans.feature("d", "approx_distinct", "x", 3_600_000, 60_000),
              Plans.feature("q", "quantile", "x", 3_600_000, 60_000)));
  private static final Plan PLAN = Plan.parse(PLAN_JSON);

  private final StageSpec spec = StageSpec.of(PLAN, "e");
  private final EntityStateSerializer serializer = new EntityStateSerializer(PLAN_JSON, "e", spec);

  private Object[] update(EntityState state, int number) {
    Event event = Plans.event(PLAN, "id" + number, number * 700L, "k", number * 1.7 % 11);
    spec.update(state, event, "k", view -> 1);
    return event.views[0].features();
  }

  private byte[] written(EntityState state) throws IOException {
    DataOutputSerializer out = new DataOutputSerializer(256);
    serializer.serialize(state, out);
    return out.getCopyOfBuffer();
  }

  @Test
  void aStateThatIsPackedAfterEveryEventGivesTheSameBits() throws IOException {
    EntityState packed = spec.newState();
    EntityState open = spec.newState();
    for (int i = 0; i < 400; i++) {
      assertArrayEquals(update(open, i), update(packed, i));
      written(packed);
      assertTrue(packed.packedBytes() > 0);
    }
    assertEquals(0, open.packedBytes());
  }

  @Test
  void aCopyOfAStateAtRestChangesWithoutIt() throws IOException {
    EntityState state = spec.newState();
    for (int i = 0; i < 100; i++) {
      update(state, i);
    }
    byte[] before = written(state);
    EntityState copy = state.copy();
    update(copy, 100);
    assertArrayEquals(before, written(state));
    update(state, 100);
    assertArrayEquals(written(copy), written(state));
  }

  @Test
  void aStateIsReadAndWrittenAgainWithoutOpeningIt() throws IOException {
    EntityState state = spec.newState();
    update(state, 1);
    byte[] before = written(state);
    EntityState read = serializer.deserialize(new DataInputDeserializer(before));
    assertArrayEquals(before, written(read));
    assertEquals(before.length - 1, read.packedBytes(), "one byte for its length");
  }
}
