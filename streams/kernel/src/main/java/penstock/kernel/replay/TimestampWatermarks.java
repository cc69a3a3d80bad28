package penstock.kernel.replay;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import penstock.kernel.decode.RawRecord;

/**
 * A watermark of one split for every new timestamp. Records then leave one by one, and not in large
 * batches that would block checkpoints.
 */
public final class TimestampWatermarks implements WatermarkGenerator<RawRecord> {
  private long newest = Long.MIN_VALUE;

  @Override
  public void onEvent(RawRecord record, long ofKafka, WatermarkOutput output) {
    long timestamp = record.timestamp(); // which a copy has from its original
    if (timestamp > newest) {
      newest = timestamp;
      // More records with this timestamp may follow.
      output.emitWatermark(new Watermark(timestamp - 1));
    }
  }

  @Override
  public void onPeriodicEmit(WatermarkOutput output) {}
}
