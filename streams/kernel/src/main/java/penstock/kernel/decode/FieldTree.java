package penstock.kernel.decode;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import penstock.kernel.plan.Plan;

/**
 * Where a contract's fields are in an event: a tree of objects, by name. A leaf is a field; its
 * decoded value belongs at the field's index in the contract. An array has lists: each is a field
 * whose values are at one place in the array's elements.
 */
final class FieldTree {
  private static final int NO_FIELD = -1;

  /** By name in the event. */
  final Map<String, FieldTree> inner = new LinkedHashMap<>();

  /** The object's or field's name where Avro does not allow that in the event. */
  final String avroName;

  private final String path;
  private final boolean isInElement;
  private int index = NO_FIELD;
  private int column = NO_FIELD;

  /** Of an array, the tree of an element: its leaf at index i belongs to {@code lists.get(i)}. */
  private FieldTree element;

  /** The indexes of an array's fields in the contract. */
  private final List<Integer> lists = new ArrayList<>();

  private FieldTree(String name, String path, boolean isInElement) {
    this.avroName = avroName(name);
    this.path = path;
    this.isInElement = isInElement;
  }

  static FieldTree of(List<Plan.Field> fields) {
    FieldTree root = new FieldTree("", "", false);
    for (int i = 0; i < fields.size(); i++) {
      FieldTree node = root.at(fields.get(i).place());
      if (!fields.get(i).type().isList()) {
        node.index = i;
        node.column = i;
        continue;
      }
      if (node.element == null) {
        node.element = new FieldTree("", "", true);
      }
      FieldTree leaf = node.element.at(fields.get(i).each());
      leaf.index = node.lists.size();
      leaf.column = i;
      node.lists.add(i);
    }
    return root;
  }

  private FieldTree at(List<String> place) {
    FieldTree node = this;
    for (String name : place) {
      String path = node.path.isEmpty() ? name : node.path + "." + name;
      node = node.inner.computeIfAbsent(name, any -> new FieldTree(name, path, isInElement));
    }
    return node;
  }

  boolean isField() {
    return index != NO_FIELD;
  }

  boolean isArray() {
    return element != null;
  }

  /** Begins an array: its fields have no elements until they come. */
  Elements elements(Object[] values) {
    lists.forEach(list -> values[list] = new ArrayList<>());
    return new Elements(values);
  }

  /** The values in an array's elements, one element after the other. */
  final class Elements {
    /** The values of the present element, to be set by {@link #tree}. */
    final Object[] element = new Object[lists.size()];

    private final Object[] values;

    private Elements(Object[] values) {
      this.values = values;
    }

    /** Where the values are in an element. */
    FieldTree tree() {
      return FieldTree.this.element;
    }

    /** Takes the values of the present element. */
    @SuppressWarnings("unchecked")
    void take() {
      for (int i = 0; i < element.length; i++) {
        ((List<Object>) values[lists.get(i)]).add(element[i]);
      }
    }
  }

  /** Where the field's value belongs: in an element of an array, one of its {@link Elements}. */
  int index() {
    return index;
  }

  /** The field's index in the contract. */
  int column() {
    return column;
  }

  /** Notes that an object is read next: its fields are missing until they come. */
  void begin(Object[] values) {
    for (FieldTree child : inner.values()) {
      child.fill(values, child.isField() || child.isArray() ? null : SpecialValue.NO_OBJECT);
    }
  }

  /** Notes that the event has, in place of this object, null or something else. */
  void replaced(Object[] values, boolean byNull) {
    if (isArray()) {
      fill(values, byNull ? SpecialValue.NULL : new SpecialValue.Unreadable("must be an array"));
      return;
    }
    String problem =
        isInElement ? "must be within objects in every element" : path + " is not an object";
    fill(values, byNull ? SpecialValue.NO_OBJECT : new SpecialValue.Unreadable(problem));
  }

  private void fill(Object[] values, Object value) {
    if (isField()) {
      values[index] = value;
    }
    lists.forEach(list -> values[list] = value);
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
