package penstock.kernel.window;

import java.io.IOException;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.ColumnType;

/**
 * The most frequent values, of equally frequent ones the smaller first. Values are counted exactly
 * up to {@link #MOST_COUNTED} of them; beyond, as Misra and Gries (1982) do and merged as Agarwal
 * et al. (2012, "Mergeable summaries") do: the counts are lowered by the greatest that finds no
 * place, so that none is short by more than n / (MOST_COUNTED + 1) of n values. What comes out
 * depends on the values of each tile and on the merging alone, so a restored window gives the same.
 */
final class MostFrequent extends Aggregate {
  /** Also known to {@code streams/aggregates.py}. */
  private static final int MOST_COUNTED = 256;

  private final ColumnType type;
  private final int most;

  MostFrequent(int number, int object, ColumnType type, int most) {
    super(number, object);
    this.type = type;
    this.most = most;
  }

  /** Values in ascending order, and how often each was seen; never changed. */
  private record Tally(Object[] values, long[] counts) {
    int size() {
      return counts.length;
    }
  }

  @Override
  int numbers() {
    return 0;
  }

  @Override
  int objects() {
    return 1;
  }

  /** How many are asked for is a matter of the result alone. */
  @Override
  boolean isServedBy(Aggregate other) {
    return other instanceof MostFrequent;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    // Zero has two forms.
    Object counted = value instanceof Double real && real == 0 ? (Object) 0.0 : value;
    Tally held = (Tally) rows.object(row, object);
    rows.object(
        row,
        object,
        held == null ? new Tally(new Object[] {counted}, new long[] {1}) : plus(held, counted));
  }

  /** One value more: cheaper than a merge where it is there already, as most are. */
  private static Tally plus(Tally held, Object value) {
    int place = Arrays.binarySearch(held.values, value, MostFrequent::compare);
    if (place < 0) {
      return both(held, new Tally(new Object[] {value}, new long[] {1}));
    }
    long[] counts = held.counts.clone();
    counts[place]++;
    return new Tally(held.values, counts);
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    Tally right = (Tally) newer.object(newerRow, object);
    if (right != null) {
      Tally left = (Tally) older.object(row, object);
      older.object(row, object, left == null ? right : both(left, right));
    }
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    Tally held = (Tally) rows.object(row, object);
    if (held == null) {
      return null;
    }
    int[] best = new int[Math.min(most, held.size())];
    int found = 0;
    for (int i = 0; i < held.size(); i++) {
      int place = found;
      while (place > 0 && held.counts[best[place - 1]] < held.counts[i]) {
        place--;
      }
      if (place < best.length) {
        found = Math.min(found + 1, best.length);
        System.arraycopy(best, place, best, place + 1, found - place - 1);
        best[place] = i;
      }
    }
    return Arrays.stream(best).mapToObj(i -> held.values[i]).toList();
  }

  private static Tally both(Tally left, Tally right) {
    Object[] values = new Object[left.size() + right.size()];
    long[] counts = new long[values.length];
    int size = 0;
    int i = 0;
    int j = 0;
    while (i < left.size() || j < right.size()) {
      int order =
          i == left.size() ? 1 : j == right.size() ? -1 : compare(left.values[i], right.values[j]);
      values[size] = order <= 0 ? left.values[i] : right.values[j];
      counts[size++] = (order <= 0 ? left.counts[i++] : 0) + (order >= 0 ? right.counts[j++] : 0);
    }
    return lowered(new Tally(Arrays.copyOf(values, size), Arrays.copyOf(counts, size)));
  }

  private static Tally lowered(Tally tally) {
    if (tally.size() <= MOST_COUNTED) {
      return tally;
    }
    long[] sorted = tally.counts.clone();
    Arrays.sort(sorted);
    long by = sorted[sorted.length - 1 - MOST_COUNTED];
    int[] kept = IntStream.range(0, tally.size()).filter(i -> tally.counts[i] > by).toArray();
    return new Tally(
        Arrays.stream(kept).mapToObj(i -> tally.values[i]).toArray(),
        Arrays.stream(kept).mapToLong(i -> tally.counts[i] - by).toArray());
  }

  /** Numbers by size, text by code point, false before true. */
  @SuppressWarnings("unchecked")
  private static int compare(Object one, Object other) {
    return one instanceof String text
        ? byCodePoint(text, (String) other)
        : ((Comparable<Object>) one).compareTo(other);
  }

  /** UTF-16 has the surrogates before the last of the characters that do without. */
  private static int byCodePoint(String one, String other) {
    int place = 0;
    int shorter = Math.min(one.length(), other.length());
    while (place < shorter && one.charAt(place) == other.charAt(place)) {
      place++;
    }
    if (place == shorter) {
      return Integer.compare(one.length(), other.length());
    }
    char left = one.charAt(place);
    char right = other.charAt(place);
    if (Character.isSurrogate(left) != Character.isSurrogate(right)) {
      return Character.isSurrogate(left) ? 1 : -1;
    }
    return Character.compare(left, right);
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    Tally tally = (Tally) value;
    Binary.writeSize(tally.size(), out);
    for (int i = 0; i < tally.size(); i++) {
      type.write(tally.values[i], out);
      out.writeLong(tally.counts[i]);
    }
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    Tally tally = new Tally(new Object[size], new long[size]);
    for (int i = 0; i < size; i++) {
      tally.values[i] = type.read(in);
      tally.counts[i] = in.readLong();
    }
    return tally;
  }
}
