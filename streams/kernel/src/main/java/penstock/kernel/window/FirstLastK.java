package penstock.kernel.window;

import java.io.IOException;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.ColumnType;

/**
 * The first k values by event time, or the last k, latest first. Equal times are in order of
 * arrival.
 */
final class FirstLastK extends ObjectAggregate<FirstLastK.TimedValues> {
  private final ColumnType type;
  private final int k;
  private final boolean latest;

  FirstLastK(int number, int object, ColumnType type, int k, boolean latest) {
    super(number, object);
    this.type = type;
    this.k = k;
    this.latest = latest;
  }

  /** Values by time; equal times in order of arrival. Never changed. */
  record TimedValues(long[] times, Object[] values) {
    int size() {
      return times.length;
    }
  }

  @Override
  TimedValues newObject(Object value, long time) {
    return new TimedValues(new long[] {time}, new Object[] {value});
  }

  @Override
  TimedValues addToObject(TimedValues stored, Object value, long time) {
    return mergeObjects(stored, newObject(value, time));
  }

  @Override
  Object result(AccumulatorRows rows, int row, CurrentEvent current) {
    TimedValues stored = stored(rows, row);
    if (stored == null) {
      return null;
    }
    List<Object> values = Arrays.asList(stored.values.clone());
    if (latest) {
      Collections.reverse(values);
    }
    return values;
  }

  /** Of equal times, those of {@code left} arrived first. */
  @Override
  TimedValues mergeObjects(TimedValues left, TimedValues right) {
    TimedValues outer = latest ? right : left;
    if (outer.size() == k && right.times[0] >= left.times[left.size() - 1]) {
      return outer;
    }
    int kept = Math.min(left.size() + right.size(), k);
    int skipped = latest ? left.size() + right.size() - kept : 0;
    TimedValues both = new TimedValues(new long[kept], new Object[kept]);
    int i = 0;
    int j = 0;
    for (int index = 0; index < skipped + kept; index++) {
      boolean fromLeft = j == right.size() || i < left.size() && left.times[i] <= right.times[j];
      TimedValues from = fromLeft ? left : right;
      int next = fromLeft ? i++ : j++;
      if (index >= skipped) {
        both.times[index - skipped] = from.times[next];
        both.values[index - skipped] = from.values[next];
      }
    }
    return both;
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    TimedValues stored = (TimedValues) value;
    Binary.writeSize(stored.size(), out);
    for (int i = 0; i < stored.size(); i++) {
      out.writeLong(stored.times[i]);
      type.write(stored.values[i], out);
    }
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    TimedValues stored = new TimedValues(new long[size], new Object[size]);
    for (int i = 0; i < size; i++) {
      stored.times[i] = in.readLong();
      stored.values[i] = type.read(in);
    }
    return stored;
  }
}
