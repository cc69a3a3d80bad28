package penstock.kernel.event;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import penstock.kernel.plan.FeatureType;
import penstock.kernel.plan.Plan;

/**
 * Names, types and indexes of an event's columns. Events carry only the columns that a later
 * operator reads.
 */
public final class ColumnLayout {
  private final List<String> names;
  private final FeatureType[] types;

  private ColumnLayout(Map<String, FeatureType> columns) {
    this.names = List.copyOf(columns.keySet());
    this.types = columns.values().toArray(FeatureType[]::new);
  }

  /** The columns that the stages and the encoder read, in the order contract, derived, filters. */
  public static ColumnLayout needed(Plan plan) {
    Set<String> needed = new LinkedHashSet<>();
    plan.passthrough().forEach(column -> needed.add(column.get(0)));
    needed.add(plan.source().key());
    plan.sources().forEach(source -> needed.add(source.filter()));
    plan.lookups().forEach(lookup -> needed.addAll(lookup.on()));
    for (Plan.Stage stage : plan.stages()) {
      needed.addAll(plan.keyColumns(stage.key()));
      for (Plan.View view : stage.views()) {
        for (Plan.Feature feature : view.features()) {
          needed.add(feature.column());
          needed.add(feature.where());
        }
      }
    }
    Map<String, FeatureType> columns = plan.contractColumns();
    plan.derived().forEach(column -> columns.put(column.name(), FeatureType.of(column.type())));
    plan.filters().forEach(column -> columns.put(column.name(), FeatureType.of(column.type())));
    columns.keySet().retainAll(needed);
    return new ColumnLayout(columns);
  }

  /** All fields of the contracts. */
  public static ColumnLayout contract(Plan plan) {
    return new ColumnLayout(plan.contractColumns());
  }

  /** Number of columns. */
  public int size() {
    return types.length;
  }

  /** Column names, by index. */
  public List<String> names() {
    return new ArrayList<>(names);
  }

  /** Type of the column at that index. */
  public FeatureType type(int index) {
    return types[index];
  }

  /** Index of a column; -1 if {@code name} is null or not a column. */
  public int indexOf(String name) {
    return name == null ? -1 : names.indexOf(name);
  }
}
