package penstock.kernel.fill;

import org.apache.flink.streaming.api.functions.source.legacy.SourceFunction;
import penstock.kernel.decode.RawRecord;

/**
 * A source without records that never ends. A job whose other source has ended goes on, and can
 * write a savepoint: Flink keeps none of a job that has finished.
 */
@SuppressWarnings("deprecation") // A source of the newer kind would take five classes.
public final class HoldOpen implements SourceFunction<RawRecord> {
  private static final long serialVersionUID = 1;
  private static final long LOOK_EVERY_MS = 50;

  private volatile boolean isCancelled;

  @Override
  public void run(SourceContext<RawRecord> context) throws InterruptedException {
    while (!isCancelled) {
      Thread.sleep(LOOK_EVERY_MS);
    }
  }

  @Override
  public void cancel() {
    isCancelled = true;
  }
}
