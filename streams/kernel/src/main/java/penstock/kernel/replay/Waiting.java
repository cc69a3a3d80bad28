package penstock.kernel.replay;

import java.util.Comparator;
import penstock.kernel.decode.RawRecord;

/**
 * A record that waits for its turn. {@code time} is the greatest Kafka timestamp of its partition
 * up to it: by it, records of one partition keep the order of their offsets.
 */
record Waiting(long time, RawRecord record) {
  static final Comparator<Waiting> ORDER =
      Comparator.comparingLong(Waiting::time)
          .thenComparingInt(waiting -> waiting.record.source())
          .thenComparingInt(waiting -> waiting.record.partition())
          .thenComparingLong(waiting -> waiting.record.offset());
}
