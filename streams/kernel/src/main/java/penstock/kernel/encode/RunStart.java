package penstock.kernel.encode;

import java.io.IOException;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.streaming.api.operators.StreamingRuntimeContext;

/**
 * When a run of the job began, the same for all its subtasks: the JobManager stores the time by its
 * own clock. Flink's attempt number only tells runs under one JobManager apart, as it restarts at 0
 * with every JobManager.
 */
final class RunStart implements AggregateFunction<Integer, RunStart.LatestRun, Long> {
  private static final long serialVersionUID = 1;

  /** The newest run: Flink's attempt number, and when it began in epoch ms. */
  record LatestRun(int number, long beganMs) {}

  /** When the caller's run began. The first subtask that asks sets it. */
  static long agree(StreamingRuntimeContext context) throws IOException {
    return context
        .getGlobalAggregateManager()
        .updateGlobalAggregate(
            "penstock-run-start", context.getTaskInfo().getAttemptNumber(), new RunStart());
  }

  @Override
  public LatestRun createAccumulator() {
    return new LatestRun(-1, 0);
  }

  @Override
  public LatestRun add(Integer number, LatestRun newest) {
    return number > newest.number()
        ? new LatestRun(number, Math.max(System.currentTimeMillis(), newest.beganMs() + 1))
        : newest;
  }

  @Override
  public Long getResult(LatestRun newest) {
    return newest.beganMs();
  }

  @Override
  public LatestRun merge(LatestRun one, LatestRun other) {
    return one.number() > other.number() ? one : other;
  }
}
