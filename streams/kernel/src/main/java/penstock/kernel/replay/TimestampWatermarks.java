package penstock.kernel.replay;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import penstock.kernel.decode.RawRecord;

/**
 * The watermark of one split, at every step of its timestamps: what waits leaves record by record,
 * and not in heaps between which no checkpoint is possible.
 */
public final class TimestampWatermarks implements WatermarkGenerator<RawRecord> {
  private long newest = Long.MIN_VALUE;

  @Override
  public void onEvent(RawRecord record, long timestamp, WatermarkOutput output) {
    if (timestamp > newest) {
      newest = timestamp;
      // More of the same timestamp may follow.
      output.emitWatermark(new Watermark(timestamp - 1));
    }
  }

  @Override
  public void onPeriodicEmit(WatermarkOutput output) {}
}
