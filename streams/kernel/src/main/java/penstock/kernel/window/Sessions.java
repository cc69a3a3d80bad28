package penstock.kernel.window;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/**
 * Sessions: events that each follow the one before within a gap. An accumulator of several tiles
 * has what merging needs: the number of sessions, the first and last time, and the start of the
 * last session. A tile also has start and end of each session, as a late event may join two. It has
 * at most {@link #MAX_OPEN}; older sessions are counted and can no longer change.
 */
final class Sessions extends Aggregate {
  /** Which measure is the result. */
  enum Measure {
    COUNT,
    LENGTH
  }

  /** The aggregate's spec in Python has the same number. */
  private static final int MAX_OPEN = 1_000;

  private final Measure measure;
  private final long gapMs;
  private final int first;
  private final int last;
  private final int lastBegan;

  Sessions(int number, int object, Measure measure, long gapMs) {
    super(number, object);
    this.measure = measure;
    this.gapMs = gapMs;
    this.first = number + 1;
    this.last = number + 2;
    this.lastBegan = number + 3;
  }

  @Override
  int numbers() {
    return 4;
  }

  @Override
  int objects() {
    return 1;
  }

  @Override
  boolean canReadFrom(Aggregate other) {
    return other instanceof Sessions sessions && sessions.gapMs == gapMs;
  }

  @Override
  void add(AccumulatorRows rows, int row, Object value, long time) {
    long count = rows.number(row, number);
    long[] open = open(rows, row);
    // Skip sessions that start too late for the event; of the others, those from "at" on are within
    // the gap.
    int later = open.length;
    while (later > 0 && open[later - 2] > time && !Times.isWithin(time, open[later - 2], gapMs)) {
      later -= 2;
    }
    int at = later;
    while (at > 0 && (open[at - 1] >= time || Times.isWithin(open[at - 1], time, gapMs))) {
      at -= 2;
    }
    if (at == later) {
      boolean isBeforeAllOpen = at == 0 && 2 * count > open.length;
      if (!isBeforeAllOpen) {
        long[] more = new long[open.length + 2];
        System.arraycopy(open, 0, more, 0, at);
        more[at] = time;
        more[at + 1] = time;
        System.arraycopy(open, at, more, at + 2, open.length - at);
        put(rows, row, count + 1, more);
      }
      return;
    }
    open[at] = Math.min(open[at], time);
    open[at + 1] = Math.max(open[later - 1], time);
    if (later - at > 2) {
      System.arraycopy(open, later, open, at + 2, open.length - later);
      count -= (later - at) / 2 - 1;
      open = Arrays.copyOf(open, open.length - (later - at) + 2);
    }
    put(rows, row, count, open);
  }

  /** Start and end of each session that an event may still change, in order. */
  private long[] open(AccumulatorRows rows, int row) {
    long[] several = (long[]) rows.object(row, object);
    if (several != null) {
      return several;
    }
    return rows.number(row, number) == 0
        ? new long[0]
        : new long[] {rows.number(row, first), rows.number(row, last)};
  }

  private void put(AccumulatorRows rows, int row, long count, long[] open) {
    if (count == open.length / 2) {
      rows.number(row, first, open[0]);
    }
    rows.number(row, number, count);
    rows.number(row, last, open[open.length - 1]);
    rows.number(row, lastBegan, open[open.length - 2]);
    if (open.length > 2 * MAX_OPEN) {
      open = Arrays.copyOfRange(open, open.length - 2 * MAX_OPEN, open.length);
    }
    rows.object(row, object, count == 1 ? null : open);
  }

  @Override
  void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    long count = newer.number(newerRow, number);
    if (count == 0) {
      return;
    }
    boolean isOne = false;
    if (older.number(row, number) == 0) {
      older.number(row, first, newer.number(newerRow, first));
    } else {
      isOne = Times.isWithin(older.number(row, last), newer.number(newerRow, first), gapMs);
    }
    if (!isOne || count > 1) {
      older.number(row, lastBegan, newer.number(newerRow, lastBegan));
    }
    older.number(row, number, older.number(row, number) + count - (isOne ? 1 : 0));
    older.number(row, last, newer.number(newerRow, last));
    older.object(row, object, null);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    long count = rows.number(row, number);
    if (measure == Measure.COUNT) {
      return count;
    }
    return count == 0
        ? null
        : (Object) (Times.between(rows.number(row, lastBegan), rows.number(row, last)) / 1000.0);
  }

  @Override
  Object copyObject(Object value) {
    return ((long[]) value).clone();
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    long[] open = (long[]) value;
    Binary.writeSize(open.length, out);
    for (long time : open) {
      out.writeLong(time);
    }
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    long[] open = new long[Binary.readSize(in)];
    for (int i = 0; i < open.length; i++) {
      open[i] = in.readLong();
    }
    return open;
  }
}
