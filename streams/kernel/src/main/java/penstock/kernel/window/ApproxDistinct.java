package penstock.kernel.window;

import java.io.IOException;
import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;
import org.apache.datasketches.hll.Union;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/**
 * Approximate number of distinct values by Apache DataSketches' HLL (lg k = 12). The composite
 * estimator depends on the registers alone; the default one on the order of arrival too, so that a
 * restored window could answer otherwise.
 */
final class ApproxDistinct extends Aggregate {
  private static final int LG_K = 12;

  /** Sketches ignore the empty string; this stands for it. */
  private static final byte[] EMPTY_TEXT = {0, 'e', 'm', 'p', 't', 'y', 0};

  ApproxDistinct(int number, int object) {
    super(number, object);
  }

  @Override
  int numbers() {
    return 0;
  }

  @Override
  int objects() {
    return 1;
  }

  @Override
  void add(Rows rows, int row, Object value, long time) {
    HllSketch sketch = (HllSketch) rows.object(row, object);
    if (sketch == null) {
      sketch = new HllSketch(LG_K, TgtHllType.HLL_8);
      rows.object(row, object, sketch);
    }
    if (value instanceof String text) {
      if (text.isEmpty()) {
        sketch.update(EMPTY_TEXT);
      } else {
        sketch.update(text);
      }
    } else if (value instanceof Long number) {
      sketch.update(number);
    } else if (value instanceof Double number) {
      sketch.update(number);
    } else {
      sketch.update((Boolean) value ? 1L : 0L);
    }
  }

  @Override
  void merge(Rows older, int row, Rows newer, int newerRow) {
    HllSketch right = (HllSketch) newer.object(newerRow, object);
    if (right == null) {
      return;
    }
    HllSketch left = (HllSketch) older.object(row, object);
    if (left == null) {
      older.object(row, object, right);
      return;
    }
    Union union = new Union(LG_K);
    union.update(left);
    union.update(right);
    older.object(row, object, union.getResult(TgtHllType.HLL_8));
  }

  @Override
  Object result(Rows rows, int row, long asOf) {
    HllSketch sketch = (HllSketch) rows.object(row, object);
    return sketch == null ? 0L : Math.round(sketch.getCompositeEstimate());
  }

  @Override
  boolean keepsRunningTotal() {
    return true;
  }

  @Override
  Object copyObject(Object value) {
    return ((HllSketch) value).copy();
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    Binary.writeBytes(((HllSketch) value).toCompactByteArray(), out);
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    return HllSketch.heapify(Binary.readBytes(in));
  }
}
