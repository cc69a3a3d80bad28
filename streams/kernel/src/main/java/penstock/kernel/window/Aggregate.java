package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * The algebra of one aggregate: an accumulator in a row of {@link AccumulatorRows} that values are
 * added to, that merges with that of newer tiles, and that has a result. A row of zeros and nulls
 * is the empty accumulator. To add an aggregate to the language is to write one subclass and name
 * it in {@link Aggregates}.
 */
abstract class Aggregate {
  /** First of this aggregate's numbers in a row. */
  final int number;

  /** First of this aggregate's objects in a row. */
  final int object;

  Aggregate(int number, int object) {
    this.number = number;
    this.object = object;
  }

  /** How many numbers of a row it uses. */
  abstract int numbers();

  /** How many objects of a row it uses. */
  int objects() {
    return 0;
  }

  /**
   * Whether all that the result reads is kept by the other one, an aggregate of the same values,
   * and in the same places: then this one has no cells of its own.
   */
  boolean canReadFrom(Aggregate other) {
    return false;
  }

  /** Whether its first number is how many values there are. */
  boolean startsWithCount() {
    return false;
  }

  /**
   * Takes one value (of the column's type, not null) that happened at {@code time}; within a tile,
   * in current order.
   */
  abstract void add(AccumulatorRows rows, int row, Object value, long time);

  /** Merges an accumulator of newer tiles, which stays as it is, into an older one. */
  abstract void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow);

  /**
   * The value of the feature, of its type; null if the window is empty and the aggregate is no
   * count.
   */
  abstract Object result(AccumulatorRows rows, int row, CurrentEvent current);

  /** The sketch of the values, if it keeps one; there is at least one value. */
  byte[] sketch(AccumulatorRows rows, int row) {
    return null;
  }

  /**
   * Whether the value is about the event that asks. Later, when none does, it stays what it was for
   * the last one until the newest has left the window.
   */
  boolean dependsOnCurrentEvent() {
    return false;
  }

  /**
   * Whether merging is too dear to be done for every event. Then adding a value to the merged
   * accumulator must give what adding it to the newest tile and merging gives, and windows keep a
   * running total.
   */
  boolean keepsRunningTotal() {
    return false;
  }

  /** Copies this aggregate's object, if it is one that {@link #add} changes in place. */
  Object copyObject(Object value) {
    return value;
  }

  /** Writes this aggregate's object, which is not null, for a snapshot. */
  void writeObject(Object value, DataOutputView out) throws IOException {
    throw new UnsupportedOperationException(getClass() + " keeps no object");
  }

  /** Reads what {@link #writeObject} wrote. */
  Object readObject(DataInputView in) throws IOException {
    throw new UnsupportedOperationException(getClass() + " keeps no object");
  }
}
