package penstock.kernel.window;

import java.io.IOException;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.ColumnType;

/**
 * Values in ascending order with their counts; never changed.
 *
 * <p>Counts are exact up to a bound of distinct values. Beyond it, they follow Misra and Gries
 * (1982), merged as in Agarwal et al. (2012, "Mergeable summaries"): the greatest count that does
 * not fit is subtracted from all. So no count is too high, and none is too low by more than n /
 * (bound + 1) for n values.
 */
record ValueCounts(Object[] values, long[] counts) {

  static ValueCounts of(Object value) {
    return new ValueCounts(new Object[] {normalizeZero(value)}, new long[] {1});
  }

  int size() {
    return counts.length;
  }

  /** The count of a value. */
  long count(Object value) {
    int index = indexOf(normalizeZero(value));
    return index < 0 ? 0 : counts[index];
  }

  /** Adds a value. */
  ValueCounts plus(Object value, int bound) {
    Object counted = normalizeZero(value);
    int index = indexOf(counted);
    if (index >= 0) {
      long[] more = counts.clone();
      more[index]++;
      return new ValueCounts(values, more);
    }
    int at = -index - 1;
    Object[] moreValues = Arrays.copyOf(values, size() + 1);
    System.arraycopy(values, at, moreValues, at + 1, size() - at);
    moreValues[at] = counted;
    long[] moreCounts = Arrays.copyOf(counts, size() + 1);
    System.arraycopy(counts, at, moreCounts, at + 1, size() - at);
    moreCounts[at] = 1;
    return new ValueCounts(moreValues, moreCounts).bounded(bound);
  }

  /** Adds up both. */
  ValueCounts merge(ValueCounts other, int bound) {
    Object[] allValues = new Object[size() + other.size()];
    long[] allCounts = new long[allValues.length];
    int all = 0;
    int i = 0;
    int j = 0;
    while (i < size() || j < other.size()) {
      int order = i == size() ? 1 : j == other.size() ? -1 : compare(values[i], other.values[j]);
      allValues[all] = order <= 0 ? values[i] : other.values[j];
      allCounts[all++] = (order <= 0 ? counts[i++] : 0) + (order >= 0 ? other.counts[j++] : 0);
    }
    return new ValueCounts(Arrays.copyOf(allValues, all), Arrays.copyOf(allCounts, all))
        .bounded(bound);
  }

  private ValueCounts bounded(int bound) {
    if (size() <= bound) {
      return this;
    }
    long[] sorted = counts.clone();
    Arrays.sort(sorted);
    long by = sorted[sorted.length - 1 - bound];
    int[] kept = IntStream.range(0, size()).filter(i -> counts[i] > by).toArray();
    return new ValueCounts(
        Arrays.stream(kept).mapToObj(i -> values[i]).toArray(),
        Arrays.stream(kept).mapToLong(i -> counts[i] - by).toArray());
  }

  private int indexOf(Object value) {
    return Arrays.binarySearch(values, value, ValueCounts::compare);
  }

  /** Both zeros are one value. */
  private static Object normalizeZero(Object value) {
    return value instanceof Double real && real == 0 ? (Object) 0.0 : value;
  }

  /** Numbers by size, strings by code point, false before true. */
  @SuppressWarnings("unchecked")
  private static int compare(Object one, Object other) {
    return one instanceof String text
        ? byCodePoint(text, (String) other)
        : ((Comparable<Object>) one).compareTo(other);
  }

  /** UTF-16 orders surrogates before some characters that are smaller. */
  private static int byCodePoint(String one, String other) {
    int index = 0;
    int shorter = Math.min(one.length(), other.length());
    while (index < shorter && one.charAt(index) == other.charAt(index)) {
      index++;
    }
    if (index == shorter) {
      return Integer.compare(one.length(), other.length());
    }
    char left = one.charAt(index);
    char right = other.charAt(index);
    if (Character.isSurrogate(left) != Character.isSurrogate(right)) {
      return Character.isSurrogate(left) ? 1 : -1;
    }
    return Character.compare(left, right);
  }

  void write(ColumnType type, DataOutputView out) throws IOException {
    Binary.writeSize(size(), out);
    for (int i = 0; i < size(); i++) {
      type.write(values[i], out);
      out.writeLong(counts[i]);
    }
  }

  static ValueCounts read(ColumnType type, DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    ValueCounts tally = new ValueCounts(new Object[size], new long[size]);
    for (int i = 0; i < size; i++) {
      tally.values[i] = type.read(in);
      tally.counts[i] = in.readLong();
    }
    return tally;
  }
}
