package penstock.kernel.decode;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import penstock.kernel.plan.Plan;

/**
 * Where a contract's fields are in an event: a tree of objects, by name. A leaf is a field; its
 * decoded value belongs at the field's index in the contract.
 */
final class FieldTree {
  private static final int NO_FIELD = -1;

  /** By name in the event. */
  final Map<String, FieldTree> inner = new LinkedHashMap<>();

  /** The object's or field's name where Avro does not allow that in the event. */
  final String avroName;

  private final String path;
  private int index = NO_FIELD;

  private FieldTree(String name, String path) {
    this.avroName = avroName(name);
    this.path = path;
  }

  static FieldTree of(List<Plan.Field> fields) {
    FieldTree root = new FieldTree("", "");
    for (int i = 0; i < fields.size(); i++) {
      FieldTree node = root;
      for (String name : fields.get(i).place()) {
        String path = node.path.isEmpty() ? name : node.path + "." + name;
        node = node.inner.computeIfAbsent(name, any -> new FieldTree(name, path));
      }
      node.index = i;
    }
    return root;
  }

  boolean isField() {
    return index != NO_FIELD;
  }

  /** The field's index in the contract. */
  int index() {
    return index;
  }

  /** Notes that an object is read next: its fields are missing until they come. */
  void begin(Object[] values) {
    for (FieldTree child : inner.values()) {
      child.fill(values, child.isField() ? null : SpecialValue.NO_OBJECT);
    }
  }

  /** Notes that the event has, in place of this object, null or something else. */
  void replaced(Object[] values, boolean byNull) {
    fill(
        values,
        byNull ? SpecialValue.NO_OBJECT : new SpecialValue.Unreadable(path + " is not an object"));
  }

  private void fill(Object[] values, Object value) {
    if (isField()) {
      values[index] = value;
    }
    inner.values().forEach(child -> child.fill(values, value));
  }

  /** As {@code avro_name} of {@code schemas/written.py}. */
  static String avroName(String name) {
    String found =
        name.codePoints()
            .collect(
                StringBuilder::new,
                (text, code) -> text.appendCodePoint(isAvro(code) ? code : '_'),
                StringBuilder::append)
            .toString();
    return !found.isEmpty() && found.charAt(0) >= '0' && found.charAt(0) <= '9'
        ? "_" + found
        : found;
  }

  private static boolean isAvro(int code) {
    return code >= 'a' && code <= 'z'
        || code >= 'A' && code <= 'Z'
        || code >= '0' && code <= '9'
        || code == '_';
  }
}
