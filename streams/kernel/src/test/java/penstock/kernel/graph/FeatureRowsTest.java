package penstock.kernel.graph;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RawValueData;
import org.apache.flink.table.data.RowData;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** Events to rows of inputs, and rows of derived features to events. */
class FeatureRowsTest {
  private static final String DERIVED =
      """
      "derived": [
        {"name": "r", "type": "double", "inputs": ["a.n", "b.s", "event.x"]},
        {"name": "t", "type": "string", "inputs": ["a.r", "a.n"]}]}""";
  private static final String PLAN_JSON =
      Plans.plan(
          Plans.view("a", "h1", Plans.feature("n", "count", null, 1_000, 100))
              .replaceFirst("}$", ", " + DERIVED),
          Plans.view("b", "h2", Plans.feature("s", "sum", "x", 1_000, 100)));
  private static final Plan PLAN = Plan.parse(PLAN_JSON);
  private static final EventSerializer SERIALIZER = new EventSerializer(PLAN_JSON, false);

  private static Event event() {
    Event event = Plans.event(PLAN, "1", 5, "k", 2.5);
    event.views[0] = new ViewValues("k", 1, 1, 5, false, new Object[] {4L, null, null});
    return event;
  }

  private static RowData row(Event event) {
    FeatureRows.EventToInputRow toRow = new FeatureRows.EventToInputRow(PLAN_JSON);
    toRow.open((OpenContext) null);
    return toRow.map(event);
  }

  @Test
  void aRowHasTheInputsThatAreNotDerivedThemselvesAndTheVeryEvent() {
    assertEquals(
        "[a__n, b__s, event__x, __event]",
        FeatureRows.inputs(PLAN, SERIALIZER).getFieldNames().toString());
    Event event = event();
    RowData row = row(event);
    assertEquals(4.0, row.getDouble(0), "a count enters as a double");
    assertTrue(row.isNullAt(1), "the event has no view b");
    assertEquals(2.5, row.getDouble(2));
    assertSame(event, row.<Event>getRawValue(3).toObject(null), "it was serialized");
  }

  @Test
  void derivedFeaturesFollowTheAggregates() {
    assertEquals(
        "[a__r, a__t, __event]", FeatureRows.outputs(PLAN, SERIALIZER).getFieldNames().toString());
    FeatureRows.OutputRowToEvent fromRow = new FeatureRows.OutputRowToEvent(PLAN_JSON);
    fromRow.open((OpenContext) null);
    Event event = event();
    Event found = fromRow.map(GenericRowData.of(0.5, null, RawValueData.fromObject(event)));
    assertSame(event, found);
    assertArrayEquals(new Object[] {4L, 0.5, null}, found.views[0].features());
    assertNull(found.views[1]);
  }

  @Test
  void whatIsNoFiniteNumberOrTooLargeIsNull() {
    SqlFunctions.FiniteOrNull finite = new SqlFunctions.FiniteOrNull();
    assertNull(finite.eval(null));
    assertNull(finite.eval(Double.NaN));
    assertNull(finite.eval(Double.NEGATIVE_INFINITY));
    assertEquals(-0.0, finite.eval(-0.0));
    SqlFunctions.IntegerOrNull whole = new SqlFunctions.IntegerOrNull();
    assertNull(whole.eval(null));
    assertNull(whole.eval(Double.NaN));
    assertNull(whole.eval(0x1p63));
    assertEquals(Long.MIN_VALUE, whole.eval(-0x1p63));
    assertEquals(-3, whole.eval(-3.9));
  }
}
