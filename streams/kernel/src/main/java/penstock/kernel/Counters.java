package penstock.kernel;

import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;

/**
 * The kernel's counters, by the names that operators see: Prometheus shows {@code events} as {@code
 * flink_taskmanager_job_task_operator_penstock_events}.
 */
public final class Counters {
  private final MetricGroup group;

  /** Those of the operator that runs in the context. */
  public Counters(RuntimeContext context) {
    this.group = context.getMetricGroup().addGroup("penstock");
  }

  /** A counter. */
  public Counter counter(String name) {
    return group.counter(name);
  }

  /** A counter with a label; the label's name becomes part of the metric's name, before its own. */
  public Counter counter(String label, String value, String name) {
    return group.addGroup(label, value).counter(name);
  }
}
