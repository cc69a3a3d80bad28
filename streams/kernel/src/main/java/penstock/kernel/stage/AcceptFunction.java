package penstock.kernel.stage;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFilterFunction;
import org.apache.flink.metrics.Counter;
import penstock.kernel.Counters;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/** Drops and counts events that their source's condition does not accept. */
public final class AcceptFunction extends RichFilterFunction<Event> {
  private static final long serialVersionUID = 1;

  private final String planJson;
  private transient int[] conditions;
  private transient Counter ignored;

  /** For the conditions of the plan's sources. */
  public AcceptFunction(String planJson) {
    this.planJson = planJson;
  }

  /** Whether any source has a condition. */
  public static boolean isNeeded(Plan plan) {
    return plan.sources().stream().anyMatch(source -> source.filter() != null);
  }

  @Override
  public void open(OpenContext context) {
    Plan plan = Plan.parse(planJson);
    ColumnLayout layout = ColumnLayout.needed(plan);
    conditions =
        plan.sources().stream().mapToInt(source -> layout.indexOf(source.filter())).toArray();
    ignored = new Counters(getRuntimeContext()).counter("events_not_accepted");
  }

  @Override
  public boolean filter(Event event) {
    int condition = conditions[event.source];
    if (condition < 0 || Boolean.TRUE.equals(event.columns[condition])) {
      return true;
    }
    ignored.inc();
    return false;
  }
}
