package penstock.kernel.decode;

import java.util.List;
import java.util.Set;
import org.apache.avro.Schema;
import org.apache.avro.Schema.Type;
import penstock.kernel.plan.Plan;

/**
 * The logical types in a writer's schema that matter for a field: of a timestamp where the column
 * is a time, of a decimal where it is one. {@code schemas/documents.py} finds the same.
 */
final class LogicalTypes {
  private LogicalTypes() {}

  /** The field's type in the schema, or the branch of its union; null if it has none of these. */
  static Schema of(Schema writer, Plan.Field field, boolean isEventTime) {
    Set<Type> types;
    Set<String> names;
    if (WrittenValue.isTime(field, isEventTime)) {
      types = Set.of(Type.LONG);
      names = WrittenValue.TIMESTAMPS;
    } else if ("decimal".equals(field.written())) {
      types = Set.of(Type.BYTES, Type.FIXED);
      names = Set.of("decimal");
    } else {
      return null;
    }
    List<Schema> branches = branches(writer);
    for (String name : field.place()) {
      branches = inner(branches, name);
    }
    if (field.type().isList()) {
      branches = elements(branches);
      for (String name : field.each()) {
        branches = inner(branches, name);
      }
    }
    return branches.stream()
        .filter(each -> types.contains(each.getType()) && name(each) != null)
        .filter(each -> names.contains(name(each)))
        .findFirst()
        .orElse(null);
  }

  /** Of a type with a logical type: its name, also if Avro's library does not take it for one. */
  static String name(Schema schema) {
    return schema.getProp("logicalType");
  }

  /** The scale of a decimal; one beyond the range of an int is the end of that range. */
  static int scale(Schema schema) {
    return schema.getObjectProp("scale") instanceof Number scale ? (int) scale.doubleValue() : 0;
  }

  private static List<Schema> elements(List<Schema> branches) {
    return branches.stream()
        .filter(each -> each.getType() == Type.ARRAY)
        .findFirst()
        .map(array -> branches(array.getElementType()))
        .orElse(List.of());
  }

  private static List<Schema> inner(List<Schema> branches, String name) {
    for (Schema branch : branches) {
      if (branch.getType() == Type.MAP) {
        return branches(branch.getValueType());
      }
      if (branch.getType() == Type.RECORD) {
        Schema.Field field = branch.getField(name);
        field = field == null ? branch.getField(FieldTree.avroName(name)) : field;
        if (field != null) {
          return branches(field.schema());
        }
      }
    }
    return List.of();
  }

  private static List<Schema> branches(Schema schema) {
    return schema.getType() == Type.UNION ? schema.getTypes() : List.of(schema);
  }
}
