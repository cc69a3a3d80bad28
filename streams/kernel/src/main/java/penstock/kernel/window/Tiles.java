package penstock.kernel.window;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/**
 * The tiles of one entity's window, oldest first, and their aggregate at a cost per event that does
 * not depend on the number of tiles. Only tiles with events exist.
 *
 * <p>Time is divided into blocks as long as the window (van Herk 1992, Gil and Werman 1993), so a
 * window spans at most two. The newest tile is open, all others are closed. The closed tiles before
 * the current block are the {@code front} ones: each has a partial merge of itself and all newer
 * front tiles. Each of the other closed tiles has a partial merge of itself and all older ones of
 * the block. So the partial merge of the oldest tile and that of the newest closed tile together
 * cover all closed tiles. Only front tiles expire; when a block begins, all existing tiles become
 * front tiles. Nothing is ever subtracted.
 *
 * <p>Every value depends only on the tiles in the window and the current time, bit for bit: block
 * boundaries are fixed in time and do not depend on an entity's first event. So a restored window,
 * or a replay that starts later, gives the same bits.
 */
final class Tiles {
  private static final int FIRST_CAPACITY = 2;

  private final WindowSpec spec;
  private long[] indexes;
  private AccumulatorRows tiles;
  private int start;
  private int size;

  /** Number of closed tiles before {@link #boundary}. */
  private int front;

  /** First tile of the current block. */
  private long boundary = Long.MIN_VALUE;

  /** The oldest tile expires, or the next block begins, no earlier than this. */
  private long nextChange = Long.MIN_VALUE;

  /** Partial merges, one row per tile; null until a tile is closed, and after a restore. */
  private AccumulatorRows partial;

  /** Row 0: the merge of the closed tiles. Row 1: the merge of all tiles. */
  private AccumulatorRows merged;

  private boolean closedIsValid;

  /** Whether row 1 has the running totals. */
  private boolean totalIsValid;

  Tiles(WindowSpec spec) {
    this(spec, FIRST_CAPACITY);
  }

  private Tiles(WindowSpec spec, int capacity) {
    this.spec = spec;
    this.indexes = new long[capacity];
    this.tiles = new AccumulatorRows(spec.numbers, spec.objects, capacity);
  }

  /** Advances to {@code asOf}, which never decreases, and drops expired tiles. */
  void advance(long asOf) {
    if (asOf < nextChange) {
      return;
    }
    dropExpired(spec.firstInside(asOf));
    long block = spec.block(asOf);
    if (block != boundary) {
      boundary = block;
      front = 0;
      while (front < size - 1 && indexes[start + front] < boundary) {
        front++;
      }
      mergeFront(front - 1);
      mergeBack(front);
      closedIsValid = false;
      totalIsValid = false;
    }
    nextChange = spec.blockEndBound(boundary);
    if (size > 0) {
      nextChange = Math.min(nextChange, spec.expiryBound(indexes[start]));
    }
  }

  private void dropExpired(long firstInside) {
    int count = 0;
    while (count < size && indexes[start + count] < firstInside) {
      count++;
    }
    if (count == 0) {
      return;
    }
    tiles.releaseObjects(start, count);
    if (partial != null) {
      partial.releaseObjects(start, count);
    }
    start = count == size ? 0 : start + count;
    size -= count;
    // Other tiles cannot expire before the next block begins, which rebuilds their partial merges.
    front = Math.max(0, front - count);
    closedIsValid = false;
    totalIsValid = false;
  }

  /** When the next tile expires after {@code asOf}, epoch ms; the greatest long if none is left. */
  long nextExpiry(long asOf) {
    long firstInside = spec.firstInside(asOf);
    for (int row = start; row < start + size; row++) {
      if (indexes[row] >= firstInside) {
        return spec.expiresAt(indexes[row]);
      }
    }
    return Long.MAX_VALUE;
  }

  /**
   * Adds an event to its tile, which must not have expired.
   *
   * @param values per aggregate of the window its value, or a list of which each element counts;
   *     null if the event does not count for it
   */
  void add(Object[] values, long time) {
    int position = size - 1;
    if (size == 0 || !spec.tileContains(indexes[start + position], time)) {
      position = findOrInsert(spec.tile(time));
    }
    if (position < size - 1) {
      unshareObjects(start + position);
    }
    addTo(tiles, start + position, values, time, false);
    if (position < size - 1) {
      updatePartials(position);
    } else if (totalIsValid) {
      addTo(merged, 1, values, time, true);
    }
  }

  /** The position of a tile, which is inserted if it does not exist. */
  private int findOrInsert(long index) {
    int position = size;
    while (position > 0 && indexes[start + position - 1] >= index) {
      position--;
    }
    if (position == size || indexes[start + position] != index) {
      insert(position, index);
    }
    return position;
  }

  /**
   * Writes the result of each aggregate to the index of its feature.
   *
   * @param values those of the current event, as for {@link #add}
   */
  void results(CurrentEvent current, Object[] values, Object[] features) {
    AccumulatorRows rows = tiles;
    int row = start;
    if (size == 0) {
      tiles.clearRow(start);
    } else if (size > 1) {
      mergeAll();
      rows = merged;
      row = 1;
    }
    for (int i = 0; i < spec.aggregates.length; i++) {
      current.value = values[i];
      features[spec.features[i]] = finite(spec.aggregates[i].result(rows, row, current));
    }
  }

  /** Sums of huge values may give infinity or NaN, which become null. */
  private static Object finite(Object result) {
    return result instanceof Double number && !Double.isFinite(number) ? null : result;
  }

  private void addTo(
      AccumulatorRows rows, int row, Object[] values, long time, boolean onlyRunning) {
    for (int i = 0; i < spec.accumulators.length; i++) {
      Aggregate aggregate = spec.accumulators[i];
      Object value = values[spec.accumulating[i]];
      if (value == null || onlyRunning && !aggregate.keepsRunningTotal()) {
        continue;
      }
      if (value instanceof List<?> elements) {
        for (Object element : elements) {
          aggregate.add(rows, row, element, time);
        }
      } else {
        aggregate.add(rows, row, value, time);
      }
    }
  }

  private void insert(int position, long index) {
    makeRoom();
    int row = start + position;
    if (position < size) {
      System.arraycopy(indexes, row, indexes, row + 1, size - position);
      tiles.copyRows(row + 1, tiles, row, size - position);
      if (partial != null) {
        partial.copyRows(row + 1, partial, row, size - position);
      }
      if (index < boundary) {
        front++;
      }
    }
    tiles.clearRow(row);
    indexes[row] = index;
    size++;
    nextChange = Math.min(nextChange, spec.expiryBound(index));
    if (position == size - 1 && position > 0) {
      // The tile that was the newest is now closed.
      if (indexes[row - 1] < boundary) {
        front = position;
      }
      updatePartials(position - 1);
    }
  }

  private void makeRoom() {
    int capacity = indexes.length;
    if (start + size < capacity) {
      return;
    }
    if (start > size) {
      System.arraycopy(indexes, start, indexes, 0, size);
      tiles.moveToStart(start, size);
      if (partial != null) {
        partial.moveToStart(start, size);
      }
      start = 0;
      return;
    }
    capacity *= 2;
    indexes = Arrays.copyOf(indexes, capacity);
    tiles.resize(capacity);
    if (partial != null) {
      partial.resize(capacity);
    }
  }

  /** Recomputes the partial merges that contain the closed tile at {@code position}. */
  private void updatePartials(int position) {
    if (position < front) {
      mergeFront(position);
    } else {
      mergeBack(position);
    }
    closedIsValid = false;
    totalIsValid = false;
  }

  /** Recomputes the partial merges of the front tiles from {@code from} down to the oldest. */
  private void mergeFront(int from) {
    if (partial == null) {
      return;
    }
    for (int position = from; position >= 0; position--) {
      int row = start + position;
      partial.copyRow(row, tiles, row);
      if (position < front - 1) {
        merge(partial, row, partial, row + 1);
      }
    }
  }

  /** Recomputes the partial merges of the other closed tiles from {@code from} up to the newest. */
  private void mergeBack(int from) {
    if (partial == null) {
      return;
    }
    for (int position = Math.max(from, front); position < size - 1; position++) {
      int row = start + position;
      if (position == front) {
        partial.copyRow(row, tiles, row);
      } else {
        partial.copyRow(row, partial, row - 1);
        merge(partial, row, tiles, row);
      }
    }
  }

  private void mergeAll() {
    if (partial == null) {
      partial = new AccumulatorRows(spec.numbers, spec.objects, indexes.length);
      merged = new AccumulatorRows(spec.numbers, spec.objects, 2);
      mergeFront(front - 1);
      mergeBack(front);
    }
    int newest = start + size - 1;
    if (!closedIsValid) {
      if (front > 0) {
        merged.copyRow(0, partial, start);
      } else {
        merged.clearRow(0);
      }
      if (front < size - 1) {
        merge(merged, 0, partial, newest - 1);
      }
      closedIsValid = true;
    }
    if (!totalIsValid) {
      merged.copyRow(1, merged, 0);
      merge(merged, 1, tiles, newest);
      for (Aggregate aggregate : spec.running) {
        unshareTotal(aggregate, newest);
      }
      totalIsValid = spec.running.length > 0;
      return;
    }
    for (Aggregate aggregate : spec.accumulators) {
      if (!aggregate.keepsRunningTotal()) {
        merged.copyCells(aggregate, 1, merged, 0);
        aggregate.merge(merged, 1, tiles, newest);
      }
    }
  }

  /**
   * Copies a running total, which changes in place, if a tile or a partial merge shares its object.
   */
  private void unshareTotal(Aggregate aggregate, int newest) {
    for (int i = aggregate.object; i < aggregate.object + aggregate.objects(); i++) {
      Object total = merged.object(1, i);
      if (total != null && (total == merged.object(0, i) || total == tiles.object(newest, i))) {
        merged.object(1, i, aggregate.copyObject(total));
      }
    }
  }

  private void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow) {
    for (Aggregate aggregate : spec.accumulators) {
      aggregate.merge(older, row, newer, newerRow);
    }
  }

  /**
   * Copies the objects of a closed tile before they change, as partial merges and copies share
   * them.
   */
  private void unshareObjects(int row) {
    for (Aggregate aggregate : spec.accumulators) {
      for (int i = aggregate.object; i < aggregate.object + aggregate.objects(); i++) {
        Object shared = tiles.object(row, i);
        if (shared != null) {
          tiles.object(row, i, aggregate.copyObject(shared));
        }
      }
    }
  }

  /** The tiles, oldest first, each with the results of the aggregates over it alone. */
  List<StateReport.TileReport> report(long asOf) {
    List<StateReport.TileReport> report = new ArrayList<>();
    CurrentEvent current = new CurrentEvent();
    current.time = asOf;
    current.asOf = asOf;
    for (int row = start; row < start + size; row++) {
      Object[] results = new Object[spec.aggregates.length];
      for (int i = 0; i < results.length; i++) {
        results[i] = finite(spec.aggregates[i].result(tiles, row, current));
      }
      report.add(new StateReport.TileReport(indexes[row], results));
    }
    return report;
  }

  /**
   * A copy that may change while this one is written to a snapshot. This one must not change any
   * more.
   */
  Tiles copy() {
    int capacity = Math.max(FIRST_CAPACITY, size + 1);
    Tiles copy = new Tiles(spec, capacity);
    copy.size = size;
    copy.front = front;
    copy.boundary = boundary;
    copy.nextChange = nextChange;
    System.arraycopy(indexes, start, copy.indexes, 0, size);
    copy.tiles.copyRows(0, tiles, start, size);
    if (size > 0) {
      copy.unshareObjects(size - 1);
    }
    if (partial != null) {
      copy.partial = new AccumulatorRows(spec.numbers, spec.objects, capacity);
      copy.partial.copyRows(0, partial, start, size);
      copy.merged = new AccumulatorRows(spec.numbers, spec.objects, 2);
      copy.merged.copyRow(0, merged, 0);
      copy.closedIsValid = closedIsValid;
    }
    return copy;
  }

  void write(DataOutputView out) throws IOException {
    Binary.writeSize(size, out);
    for (int row = start; row < start + size; row++) {
      if (row == start) {
        out.writeLong(indexes[row]);
      } else {
        Binary.writePositive(indexes[row] - indexes[row - 1], out);
      }
      tiles.writeNumbers(row, out);
      for (Aggregate aggregate : spec.accumulators) {
        for (int i = aggregate.object; i < aggregate.object + aggregate.objects(); i++) {
          Object object = tiles.object(row, i);
          out.writeBoolean(object != null);
          if (object != null) {
            aggregate.writeObject(object, out);
          }
        }
      }
    }
  }

  static Tiles read(WindowSpec spec, DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    Tiles read = new Tiles(spec, Math.max(FIRST_CAPACITY, size + 1));
    read.size = size;
    for (int row = 0; row < size; row++) {
      read.indexes[row] =
          row == 0 ? in.readLong() : read.indexes[row - 1] + Binary.readPositive(in);
      read.tiles.readNumbers(row, in);
      for (Aggregate aggregate : spec.accumulators) {
        for (int i = aggregate.object; i < aggregate.object + aggregate.objects(); i++) {
          if (in.readBoolean()) {
            read.tiles.object(row, i, aggregate.readObject(in));
          }
        }
      }
    }
    return read;
  }
}
