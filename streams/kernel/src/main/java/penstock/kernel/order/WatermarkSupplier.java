package penstock.kernel.order;

import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkGeneratorSupplier;
import org.apache.flink.metrics.Gauge;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/**
 * Creates each task's watermark generator, and exposes its lag as the metric {@code
 * penstock_watermark_lag_ms}.
 */
public final class WatermarkSupplier implements WatermarkGeneratorSupplier<Event> {
  private static final long serialVersionUID = 1;

  private final long disorderMs;
  private final long idleAfterMs;
  private final int expected;
  private final boolean replayed;

  /**
   * For the tasks that share a source's partitions.
   *
   * @param partitions number of partitions
   * @param tasks number of tasks
   * @param replayed whether it is a replay, which must not depend on the wall clock
   */
  public WatermarkSupplier(Plan.Source source, int partitions, int tasks, boolean replayed) {
    this.disorderMs = source.disorderMs();
    this.idleAfterMs = source.idleAfterMs();
    this.expected = (partitions + tasks - 1) / tasks;
    this.replayed = replayed;
  }

  @Override
  public WatermarkGenerator<Event> createWatermarkGenerator(Context context) {
    EventTimeWatermarks generator =
        new EventTimeWatermarks(
            disorderMs, idleAfterMs, expected, replayed ? null : System::currentTimeMillis);
    context
        .getMetricGroup()
        .addGroup("penstock")
        .gauge("watermark_lag_ms", (Gauge<Long>) generator::lagMs);
    return generator;
  }
}
