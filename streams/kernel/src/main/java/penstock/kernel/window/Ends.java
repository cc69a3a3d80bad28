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
 * The values at one end of event time, the outermost first: the greatest times (of equal ones the
 * later arrival comes first), or the least (the earlier).
 */
final class Ends extends ObjectAggregate<Ends.Held> {
  private final ColumnType type;
  private final int most;
  private final boolean latest;

  Ends(int number, int object, ColumnType type, int most, boolean latest) {
    super(number, object);
    this.type = type;
    this.most = most;
    this.latest = latest;
  }

  /** Values by time, of equal times in order of arrival; never changed. */
  record Held(long[] times, Object[] values) {
    int size() {
      return times.length;
    }
  }

  @Override
  Held of(Object value, long time) {
    return new Held(new long[] {time}, new Object[] {value});
  }

  @Override
  Held with(Held held, Object value, long time) {
    return both(held, of(value, time));
  }

  @Override
  Object result(Rows rows, int row, Arrival arrival) {
    Held held = held(rows, row);
    if (held == null) {
      return null;
    }
    List<Object> values = Arrays.asList(held.values.clone());
    if (latest) {
      Collections.reverse(values);
    }
    return values;
  }

  /** The outermost of two; of equal times those of {@code left} arrived first. */
  @Override
  Held both(Held left, Held right) {
    Held outer = latest ? right : left;
    if (outer.size() == most && right.times[0] >= left.times[left.size() - 1]) {
      return outer;
    }
    int kept = Math.min(left.size() + right.size(), most);
    int skipped = latest ? left.size() + right.size() - kept : 0;
    Held both = new Held(new long[kept], new Object[kept]);
    int i = 0;
    int j = 0;
    for (int place = 0; place < skipped + kept; place++) {
      boolean fromLeft = j == right.size() || i < left.size() && left.times[i] <= right.times[j];
      Held from = fromLeft ? left : right;
      int next = fromLeft ? i++ : j++;
      if (place >= skipped) {
        both.times[place - skipped] = from.times[next];
        both.values[place - skipped] = from.values[next];
      }
    }
    return both;
  }

  @Override
  void writeObject(Object value, DataOutputView out) throws IOException {
    Held held = (Held) value;
    Binary.writeSize(held.size(), out);
    for (int i = 0; i < held.size(); i++) {
      out.writeLong(held.times[i]);
      type.write(held.values[i], out);
    }
  }

  @Override
  Object readObject(DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    Held held = new Held(new long[size], new Object[size]);
    for (int i = 0; i < size; i++) {
      held.times[i] = in.readLong();
      held.values[i] = type.read(in);
    }
    return held;
  }
}
