package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * One aggregate: how to add a value to its accumulator, merge two accumulators and compute the
 * result. An accumulator is part of a row of {@link AccumulatorRows}; all zeros and nulls is the
 * empty one. A new aggregate is one subclass and one line in {@link Aggregates}.
 */
abstract class Aggregate {
  /** Index of this aggregate's first number in a row. */
  final int number;

  /** Index of this aggregate's first object in a row. */
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
   * Whether this aggregate can compute its result from the accumulator of {@code other}, an
   * aggregate of the same values. Then it has no cells of its own.
   */
  boolean canReadFrom(Aggregate other) {
    return false;
  }

  /** Whether its first number is the count of values. */
  boolean startsWithCount() {
    return false;
  }

  /**
   * Adds a value (of the column's type, not null) of an event at {@code time}. Within a tile,
   * values come in order of arrival.
   */
  abstract void add(AccumulatorRows rows, int row, Object value, long time);

  /** Merges an accumulator of newer tiles, which does not change, into an older one. */
  abstract void merge(AccumulatorRows older, int row, AccumulatorRows newer, int newerRow);

  /** The feature's value; null if the window is empty, unless the aggregate is a count. */
  abstract Object result(AccumulatorRows rows, int row, CurrentEvent current);

  /** The sketch of at least one value; null if this aggregate keeps none. */
  byte[] sketch(AccumulatorRows rows, int row) {
    return null;
  }

  /**
   * Whether the result depends on the current event. Without one, as for a timer, the last result
   * remains until the newest event has left the window.
   */
  boolean dependsOnCurrentEvent() {
    return false;
  }

  /**
   * Whether merging is too slow to do for every event, so that windows keep a running total. Adding
   * a value to the merged accumulator must then give the same result as adding it to the newest
   * tile and merging.
   */
  boolean keepsRunningTotal() {
    return false;
  }

  /** Copies an object of this aggregate, if {@link #add} changes it in place. */
  Object copyObject(Object value) {
    return value;
  }

  /** Writes an object of this aggregate, which is not null, to a snapshot. */
  void writeObject(Object value, DataOutputView out) throws IOException {
    throw new UnsupportedOperationException(getClass() + " keeps no object");
  }

  /** Reads what {@link #writeObject} wrote. */
  Object readObject(DataInputView in) throws IOException {
    throw new UnsupportedOperationException(getClass() + " keeps no object");
  }
}
