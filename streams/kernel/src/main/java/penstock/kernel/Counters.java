package penstock.kernel;

import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.Gauge;
import org.apache.flink.metrics.MetricGroup;

/**
 * The kernel's counters. Prometheus shows {@code events} as {@code
 * flink_taskmanager_job_task_operator_penstock_events}.
 */
public final class Counters {
  private final MetricGroup group;

  /** Counters of the operator with this context. */
  public Counters(RuntimeContext context) {
    this.group = context.getMetricGroup().addGroup("penstock");
  }

  /** A counter without labels. */
  public Counter counter(String name) {
    return group.counter(name);
  }

  /** A counter with a label. In the metric's name, the label's name comes before {@code name}. */
  public Counter counter(String label, String value, String name) {
    return group.addGroup(label, value).counter(name);
  }

  /** A number that is asked for when it is shown, with a label as of a counter. */
  public void gauge(String label, String value, String name, Gauge<Long> gauge) {
    group.addGroup(label, value).gauge(name, gauge);
  }
}
