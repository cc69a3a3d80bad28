package penstock.kernel.decode;

import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import penstock.kernel.decode.InvalidEventException.Reason;
import penstock.kernel.plan.Plan;

/**
 * The change of a row. What may be the event is all read at once: the row before and after, of a
 * change that is the value itself or its {@code payload}.
 */
final class DebeziumEnvelope implements Envelope {
  private static final Map<String, String> OPERATIONS =
      Map.of("c", "insert", "u", "update", "d", "delete", "r", "snapshot");
  private static final Set<String> OF_NO_ROW = Set.of("t", "m");

  private final List<Plan.Field> read = new ArrayList<>();
  private final Set<String> operations;
  private final Change bare;
  private final Change payload;

  /** For a contract's fields, of changes by these operations. */
  DebeziumEnvelope(List<Plan.Field> fields, List<String> operations) {
    this.operations = Set.copyOf(operations);
    Map<Value, Integer> indexes = new HashMap<>();
    this.bare = new Change(fields, List.of(), indexes);
    this.payload = new Change(fields, List.of("payload"), indexes);
  }

  @Override
  public List<Plan.Field> read() {
    return read;
  }

  @Override
  public boolean mayLackValue(RawRecord record) {
    return true;
  }

  @Override
  public Object[] open(RawRecord record, Reader reader)
      throws InvalidEventException, IOException, InterruptedException {
    if (record.value() == null) {
      return null;
    }
    Object[] values = reader.read(record.value());
    Change change = isObject(values[payload.object]) ? payload : bare;
    if (!(values[change.code] instanceof String code)) {
      throw invalid("not a change of Debezium: it has no op");
    }
    if (OF_NO_ROW.contains(code)) {
      return null;
    }
    String operation = OPERATIONS.get(code);
    if (operation == null) {
      throw invalid("not a change of Debezium: op is none of c, u, d, r, t, m");
    }
    if (!operations.contains(operation)) {
      return null;
    }
    boolean isDelete = operation.equals("delete");
    if (!isObject(values[isDelete ? change.isBefore : change.isAfter])) {
      throw invalid(
          "a change of Debezium without the row: "
              + (isDelete ? "before" : "after")
              + " is not an object");
    }
    int[] chosen = isDelete ? change.before : change.after;
    Object[] fields = new Object[chosen.length];
    for (int i = 0; i < fields.length; i++) {
      fields[i] = values[chosen[i]];
    }
    return fields;
  }

  /** By what was found at a name that no object has, see {@link FieldTree}. */
  private static boolean isObject(Object found) {
    return found != SpecialValue.NO_OBJECT && !(found instanceof SpecialValue.Unreadable);
  }

  private static InvalidEventException invalid(String message) {
    return new InvalidEventException(Reason.UNDECODABLE, message);
  }

  /** Where the fields of the contract are in what is read, if the change is at {@code way}. */
  private final class Change {
    private final int[] before;
    private final int[] after;
    private final int code;
    private final int isBefore;
    private final int isAfter;
    private final int object;

    Change(List<Plan.Field> fields, List<String> way, Map<Value, Integer> indexes) {
      before = indexes(fields, way, "before", indexes);
      after = indexes(fields, way, "after", indexes);
      code = index(Envelope.text(joined(way, List.of("op"))), indexes);
      isBefore = index(Envelope.text(joined(way, List.of("before", ""))), indexes);
      isAfter = index(Envelope.text(joined(way, List.of("after", ""))), indexes);
      object = index(Envelope.text(joined(way, List.of(""))), indexes);
    }

    private int[] indexes(
        List<Plan.Field> fields, List<String> way, String row, Map<Value, Integer> indexes) {
      int[] found = new int[fields.size()];
      for (int i = 0; i < found.length; i++) {
        Plan.Field field = fields.get(i);
        List<String> place = field.place();
        List<String> within =
            Envelope.isAround(field) ? place.subList(1, place.size()) : joined(List.of(row), place);
        found[i] = index(field.placedAt(joined(way, within)), indexes);
      }
      return found;
    }

    /** A value is read once, whoever needs it. */
    private int index(Plan.Field field, Map<Value, Integer> indexes) {
      Integer known = indexes.putIfAbsent(new Value(field.place(), field.each()), read.size());
      if (known == null) {
        read.add(field);
        return read.size() - 1;
      }
      return known;
    }
  }

  /** Where a value is; lists of one array differ in the way within an element. */
  private record Value(List<String> place, List<String> each) {}

  private static List<String> joined(List<String> way, List<String> place) {
    List<String> joined = new ArrayList<>(way);
    joined.addAll(place);
    return List.copyOf(joined);
  }
}
