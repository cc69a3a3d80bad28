package penstock.kernel.stage;

import java.io.IOException;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/**
 * The event ids that one key has seen within the horizon of event time; see {@code
 * streams.oracle.reference.accepted}.
 */
public final class SeenIds {
  /** Most ids are no longer than a UUID. */
  private static final long ID_BYTES = 48;

  private final Map<String, Long> times;
  private long clock;

  /** For a new key. */
  public SeenIds() {
    this(new LinkedHashMap<>(), Long.MIN_VALUE);
  }

  private SeenIds(Map<String, Long> times, long clock) {
    this.times = times;
    this.clock = clock;
  }

  /** Adds the id. Returns false if it is a duplicate. */
  public boolean addIfNew(String id, long time, long horizonMs) {
    long now = Math.max(clock, time);
    Long before = times.putIfAbsent(id, time);
    if (before != null) {
      if (!isExpired(before, now, horizonMs)) {
        return false;
      }
      // At the end again.
      times.remove(id);
      times.put(id, time);
    }
    clock = now;
    removeExpired(now, horizonMs);
    return true;
  }

  /** Removes expired ids from the head. An expired id behind a newer one is removed later. */
  private void removeExpired(long now, long horizonMs) {
    Iterator<Long> oldest = times.values().iterator();
    while (oldest.hasNext() && isExpired(oldest.next(), now, horizonMs)) {
      oldest.remove();
    }
  }

  /** Whether {@code time} is at least the horizon before {@code now}, for any two times. */
  private static boolean isExpired(long time, long now, long horizonMs) {
    return Long.compareUnsigned(now - time, horizonMs) >= 0;
  }

  /** About its size in a snapshot. */
  long bytes() {
    return times.size() * ID_BYTES;
  }

  SeenIds copy() {
    return new SeenIds(new LinkedHashMap<>(times), clock);
  }

  void write(DataOutputView out) throws IOException {
    out.writeLong(clock);
    Binary.writeSize(times.size(), out);
    for (Map.Entry<String, Long> entry : times.entrySet()) {
      Binary.writeString(entry.getKey(), out);
      out.writeLong(entry.getValue());
    }
  }

  static SeenIds read(DataInputView in) throws IOException {
    long clock = in.readLong();
    int size = Binary.readSize(in);
    Map<String, Long> times = new LinkedHashMap<>();
    for (int i = 0; i < size; i++) {
      times.put(Binary.readString(in), in.readLong());
    }
    return new SeenIds(times, clock);
  }
}
