package penstock.kernel.replay;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.Test;
import penstock.kernel.Plans;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/** What stages side by side make of numbered events becomes whole events in order again. */
class ViewsMergerTest {
  private static final String COUNT = Plans.feature("n", "count", null, 1_000, 100);
  private static final String PLAN =
      Plans.plan(Plans.view("a", "h1", COUNT), Plans.view("b", "h2", COUNT));

  private static OneInputStreamOperatorTestHarness<Event, Event> opened(
      OneInputStreamOperatorTestHarness<Event, Event> harness) throws Exception {
    harness.setup(new EventSerializer(PLAN, false));
    harness.open();
    return harness;
  }

  private static OneInputStreamOperatorTestHarness<Event, Event> merger() throws Exception {
    return opened(new OneInputStreamOperatorTestHarness<>(new ViewsMerger()));
  }

  /** The event of a number, with the view that a stage has added. */
  private static Event event(int number, int view) {
    Event event = Plans.event(Plan.parse(PLAN), "id" + number, 100, "k", 1.0);
    event.offset = number;
    event.views[view] = new ViewValues("k", 1, number, 100, false, new Object[] {(long) number});
    return view == 0 ? event : new ViewsMerger.ViewsOnly().map(event);
  }

  private static List<String> merged(OneInputStreamOperatorTestHarness<Event, Event> harness) {
    return harness.extractOutputValues().stream()
        .map(event -> event.id + ":" + event.views[0].seq() + event.views[1].seq())
        .toList();
  }

  @Test
  void anEventLeavesWholeAndInOrderOnceAllStagesHavePassedIt() throws Exception {
    try (var harness = merger()) {
      harness.processElement(event(1, 0), 1);
      harness.processElement(event(2, 0), 2);
      harness.processElement(event(5, 1), 5);
      harness.processElement(event(2, 1), 2);
      harness.processElement(event(1, 1), 1);
      harness.processWatermark(3);
      assertEquals(List.of("id1:11", "id2:22"), merged(harness));
      harness.processElement(event(5, 0), 5);
      harness.processWatermark(Watermark.MAX_WATERMARK);
      assertEquals(List.of("id1:11", "id2:22", "id5:55"), merged(harness));
    }
  }

  @Test
  void aCheckpointFailsThatWouldLoseEventsThatWait() throws Exception {
    try (var harness = merger()) {
      harness.processElement(event(1, 0), 1);
      assertThrows(Exception.class, () -> harness.snapshot(1, 1));
      harness.processWatermark(1);
      harness.snapshot(2, 2);
    }
  }

  @Test
  void eventsAreNumberedAndReleasedBeforeACheckpointAndAtTheEnd() throws Exception {
    try (var harness = opened(new OneInputStreamOperatorTestHarness<>(new Numbering()))) {
      harness.processElement(event(1, 0), 700);
      harness.processWatermark(900); // of event time
      harness.processElement(event(2, 0), 600);
      harness.prepareSnapshotPreBarrier(1);
      harness.processWatermark(Watermark.MAX_WATERMARK);
      List<Object> sent = new ArrayList<>();
      for (Object each : harness.getOutput()) {
        sent.add(
            each instanceof StreamRecord<?> record
                ? record.getTimestamp()
                : ((Watermark) each).getTimestamp());
      }
      assertEquals(List.of(1L, 2L, 2L, Long.MAX_VALUE), sent);
    }
  }
}
