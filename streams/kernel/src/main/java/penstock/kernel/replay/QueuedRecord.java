package penstock.kernel.replay;

import java.util.Comparator;
import penstock.kernel.decode.RawRecord;

/**
 * A record that waits to be sorted. {@code time} is the greatest Kafka timestamp of its partition
 * so far. Sorting by it keeps the records of a partition in the order of their offsets.
 */
record QueuedRecord(long time, RawRecord record) {
  static final Comparator<QueuedRecord> ORDER =
      Comparator.comparingLong(QueuedRecord::time)
          .thenComparingInt(queued -> queued.record.source())
          .thenComparingInt(queued -> queued.record.partition())
          .thenComparingLong(queued -> queued.record.offset());
}
