package penstock.kernel.stage;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/**
 * The event ids that one key has seen within the horizon of event time; see {@code
 * streams.oracle.reference.accepted}.
 *
 * <p>A busy key has thousands. They lie in a few arrays in order of arrival, with a hash table of
 * their places, so that neither a snapshot nor the garbage collector follows each of them.
 */
public final class SeenIds {
  /** Random, so that nobody can make up ids that share a hash. */
  private static final long FACTOR = ThreadLocalRandom.current().nextLong() | 1;

  private static final int FEWEST = 4;

  private long clock = Long.MIN_VALUE;

  /** The ids in UTF-8, one after the other. */
  private byte[] text = new byte[16 * FEWEST];

  /** Per place, where its id begins. The one before it ends there. */
  private int[] begins;

  private long[] times;
  private int[] hashes;

  /** Places plus one, by hash and linear probing; 0 if free. */
  private int[] table;

  /** The oldest place. */
  private int first;

  /** The place of the next id. */
  private int end;

  /** How many places are in the table. An id that came again has left its old place. */
  private int live;

  /** For a new key. */
  public SeenIds() {
    allocate(FEWEST);
  }

  /** Adds the id. Returns false if it is a duplicate. */
  public boolean addIfNew(String id, long time, long horizonMs) {
    byte[] bytes = id.getBytes(StandardCharsets.UTF_8);
    int hash = hash(bytes);
    long now = Math.max(clock, time);
    int slot = slot(bytes, hash);
    if (table[slot] != 0) {
      if (!isExpired(times[table[slot] - 1], now, horizonMs)) {
        return false;
      }
      free(slot);
    }
    clock = now;
    // An expired id behind a newer one is removed later.
    while (first < end && isExpired(times[first], now, horizonMs)) {
      removeFirst();
    }
    append(bytes, 0, bytes.length, hash, time);
    return true;
  }

  /** Whether {@code time} is at least the horizon before {@code now}, for any two times. */
  private static boolean isExpired(long time, long now, long horizonMs) {
    return Long.compareUnsigned(now - time, horizonMs) >= 0;
  }

  private static int hash(byte[] id) {
    long hash = id.length;
    for (byte each : id) {
      hash = (hash ^ each) * FACTOR;
    }
    return (int) (hash >>> Integer.SIZE);
  }

  /** The slot of an id, or the free one where it belongs. */
  private int slot(byte[] id, int hash) {
    int slot = hash & table.length - 1;
    while (table[slot] != 0 && !isAt(table[slot] - 1, id, hash)) {
      slot = slot + 1 & table.length - 1;
    }
    return slot;
  }

  private boolean isAt(int place, byte[] id, int hash) {
    return hashes[place] == hash
        && Arrays.equals(text, begins[place], begins[place + 1], id, 0, id.length);
  }

  /** The slot of a place, or a free one if the place is not in the table. */
  private int slotOf(int place) {
    int slot = hashes[place] & table.length - 1;
    while (table[slot] != 0 && table[slot] != place + 1) {
      slot = slot + 1 & table.length - 1;
    }
    return slot;
  }

  /** Frees a slot, and moves those behind it that would no longer be found. */
  private void free(int slot) {
    int mask = table.length - 1;
    int gap = slot;
    for (int next = gap + 1 & mask; table[next] != 0; next = next + 1 & mask) {
      int home = hashes[table[next] - 1] & mask;
      if ((next - home & mask) >= (next - gap & mask)) {
        table[gap] = table[next];
        gap = next;
      }
    }
    table[gap] = 0;
    live--;
  }

  private void removeFirst() {
    int slot = slotOf(first);
    if (table[slot] != 0) {
      free(slot);
    }
    first++;
  }

  /** Appends an id that is not in the table. */
  private void append(byte[] from, int begin, int length, int hash, long time) {
    if (end == times.length) {
      rebuild();
    }
    int at = begins[end];
    if (text.length - at < length) {
      text = Arrays.copyOf(text, Math.max(2 * text.length, at + length));
    }
    System.arraycopy(from, begin, text, at, length);
    begins[end + 1] = at + length;
    times[end] = time;
    hashes[end] = hash;
    table[slotOf(end)] = ++end;
    live++;
  }

  /** Begins again with room for a third more, without the places that are not in use. */
  private void rebuild() {
    SeenIds old = new SeenIds(this);
    allocate(Math.max(FEWEST, 2 * Integer.highestOneBit(old.live + old.live / 3)));
    text = new byte[Math.max(16 * FEWEST, old.begins[old.end] - old.begins[old.first])];
    for (int place = old.first; place < old.end; place++) {
      if (old.table[old.slotOf(place)] != 0) {
        int begin = old.begins[place];
        append(
            old.text, begin, old.begins[place + 1] - begin, old.hashes[place], old.times[place]);
      }
    }
  }

  private void allocate(int places) {
    begins = new int[places + 1];
    times = new long[places];
    hashes = new int[places];
    table = new int[2 * places];
    first = 0;
    end = 0;
    live = 0;
  }

  /** The same arrays. */
  private SeenIds(SeenIds other) {
    clock = other.clock;
    text = other.text;
    begins = other.begins;
    times = other.times;
    hashes = other.hashes;
    table = other.table;
    first = other.first;
    end = other.end;
    live = other.live;
  }

  SeenIds copy() {
    SeenIds copy = new SeenIds(this);
    copy.text = text.clone();
    copy.begins = begins.clone();
    copy.times = times.clone();
    copy.hashes = hashes.clone();
    copy.table = table.clone();
    return copy;
  }

  /** About its size in a snapshot. */
  long bytes() {
    return begins[end] - begins[first] + live * 9L;
  }

  void write(DataOutputView out) throws IOException {
    out.writeLong(clock);
    Binary.writeSize(live, out);
    for (int place = first; place < end; place++) {
      if (table[slotOf(place)] != 0) {
        int length = begins[place + 1] - begins[place];
        Binary.writeSize(length, out);
        out.write(text, begins[place], length);
        out.writeLong(times[place]);
      }
    }
  }

  static SeenIds read(DataInputView in) throws IOException {
    SeenIds read = new SeenIds();
    read.clock = in.readLong();
    for (int rest = Binary.readSize(in); rest > 0; rest--) {
      byte[] id = Binary.readBytes(in);
      read.append(id, 0, id.length, hash(id), in.readLong());
    }
    return read;
  }
}
