package penstock.kernel.window;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.datasketches.hash.MurmurHash3;
import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;
import org.apache.datasketches.hll.Union;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/**
 * Number of distinct values. Up to a bound, their 64-bit hashes are kept in a sorted array. Beyond
 * it, Apache DataSketches' HLL (lg k = 12) of the same hashes estimates the number. The composite
 * estimator depends only on the registers; the default one also depends on the order of arrival,
 * which a restored window does not know.
 */
final class DistinctCount extends ObjectAggregate<Object> {
  private static final int LG_K = 12;

  /** The bound for an estimate: a smaller array than a sketch. */
  static final int ESTIMATE_BOUND = 48;

  private static final long SEED = 9001;

  private final int maxHashes;

  DistinctCount(int number, int object, int maxHashes) {
    super(number, object);
    this.maxHashes = maxHashes;
  }

  @Override
  boolean canReadFrom(Aggregate other) {
    return other instanceof DistinctCount distinct && distinct.maxHashes == maxHashes;
  }

  @Override
  Object newObject(Object value, long time) {
    return new long[] {hash(value)};
  }

  /** Changes a sketch in place, but never an array. */
  @Override
  Object addToObject(Object stored, Object value, long time) {
    long hash = hash(value);
    if (stored instanceof HllSketch sketch) {
      sketch.update(hash);
      return sketch;
    }
    long[] hashes = (long[]) stored;
    int index = Arrays.binarySearch(hashes, hash);
    return index >= 0 ? hashes : union(hashes, new long[] {hash});
  }

  /** Changes neither. Returns a new object, unless one set contains the other. */
  @Override
  Object mergeObjects(Object left, Object right) {
    if (left instanceof long[] some && right instanceof long[] others) {
      return union(some, others);
    }
    if (left instanceof long[] hashes) {
      return sketch((HllSketch) right, hashes);
    }
    if (right instanceof long[] hashes) {
      return sketch((HllSketch) left, hashes);
    }
    Union union = new Union(LG_K);
    union.update((HllSketch) left);
    union.update((HllSketch) right);
    return union.getResult(TgtHllType.HLL_8);
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    Object stored = stored(rows, row);
    if (stored == null) {
      return 0L;
    }
    return stored instanceof long[] hashes
        ? (long) hashes.length
        : Math.round(((HllSketch) stored).getCompositeEstimate());
  }

  @Override
  byte[] sketch(AccumulatorRows rows, int row) {
    Object stored = stored(rows, row);
    HllSketch sketch =
        stored instanceof long[] hashes ? sketch(empty(), hashes) : (HllSketch) stored;
    // After a merge, every reader estimates from the registers alone, as result() does.
    Union union = new Union(LG_K);
    union.update(sketch);
    union.update(sketch);
    return union.getResult(TgtHllType.HLL_8).toCompactByteArray();
  }

  @Override
  boolean keepsRunningTotal() {
    return true;
  }

  @Override
  Object copyObject(Object value) {
    return value instanceof HllSketch sketch ? sketch.copy() : value;
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    if (value instanceof long[] hashes) {
      Binary.writeSize(hashes.length - 1, out);
      for (long hash : hashes) {
        out.writeLong(hash);
      }
    } else {
      Binary.writeSize(-1, out);
      Binary.writeBytes(((HllSketch) value).toCompactByteArray(), out);
    }
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    int count = Binary.readSize(in) + 1;
    if (count == 0) {
      return HllSketch.heapify(Binary.readBytes(in));
    }
    long[] hashes = new long[count];
    for (int i = 0; i < count; i++) {
      hashes[i] = in.readLong();
    }
    return hashes;
  }

  private Object union(long[] left, long[] right) {
    long[] both = new long[left.length + right.length];
    int size = 0;
    int i = 0;
    int j = 0;
    while (i < left.length || j < right.length) {
      if (j == right.length || i < left.length && left[i] < right[j]) {
        both[size++] = left[i++];
      } else {
        if (i < left.length && left[i] == right[j]) {
          i++;
        }
        both[size++] = right[j++];
      }
    }
    long[] hashes = size == both.length ? both : Arrays.copyOf(both, size);
    return size <= maxHashes ? hashes : sketch(empty(), hashes);
  }

  private static HllSketch empty() {
    return new HllSketch(LG_K, TgtHllType.HLL_8);
  }

  private static HllSketch sketch(HllSketch sketch, long[] hashes) {
    HllSketch result = sketch.copy();
    for (long hash : hashes) {
      result.update(hash);
    }
    return result;
  }

  private static long hash(Object value) {
    if (value instanceof String text) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      // The hash function rejects an empty array.
      return bytes.length == 0 ? SEED : MurmurHash3.hash(bytes, SEED)[0];
    }
    if (value instanceof Long number) {
      return hashBits(number);
    }
    if (value instanceof Double number) {
      // Both zeros are one value.
      return hashBits(Double.doubleToLongBits(number == 0 ? 0.0 : number));
    }
    return (Boolean) value ? 1 : 0;
  }

  private static long hashBits(long bits) {
    return MurmurHash3.hash(new long[] {bits}, SEED)[0];
  }
}
