package penstock.kernel.graph;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RawValueData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.DoubleType;
import org.apache.flink.table.types.logical.RawType;
import org.apache.flink.table.types.logical.RowType;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.ColumnType;
import penstock.kernel.plan.Plan;

/**
 * Events with their views as rows, from which SQL computes derived features: one column per input,
 * then the event itself. Within a chain of operators the event is passed by reference.
 */
final class FeatureRows {
  private static final String EVENT = "__event";

  private FeatureRows() {}

  /** The inputs of the plan's derived features, other than derived features, and the event. */
  static RowType inputs(Plan plan, EventSerializer serializer) {
    List<RowType.RowField> fields = new ArrayList<>();
    for (Input input : Input.of(plan)) {
      boolean isNumber = input.type() == ColumnType.LONG || input.type() == ColumnType.DOUBLE;
      fields.add(
          new RowType.RowField(
              input.column(), isNumber ? new DoubleType() : EventRows.sqlType(input.type())));
    }
    return withEvent(fields, serializer);
  }

  /** All derived features, in record order, and the event. */
  static RowType outputs(Plan plan, EventSerializer serializer) {
    List<RowType.RowField> fields = new ArrayList<>();
    for (Plan.View view : plan.views()) {
      for (Plan.Derived feature : view.derived()) {
        fields.add(
            new RowType.RowField(
                columnOf(view.name() + "." + feature.name()), EventRows.sqlType(feature.type())));
      }
    }
    return withEvent(fields, serializer);
  }

  private static RowType withEvent(List<RowType.RowField> fields, EventSerializer serializer) {
    fields.add(new RowType.RowField(EVENT, new RawType<>(true, Event.class, serializer)));
    return new RowType(fields);
  }

  /** The same name as {@code streams.plan.derivation.feature_column} gives. */
  private static String columnOf(String name) {
    return name.replace(".", "__");
  }

  /**
   * Where to read an input: at an index of the event's columns (view -1) or of a view's features.
   */
  private record Input(String column, int view, int index, ColumnType type) {
    /**
     * The inputs of a plan's derived features. Inputs that are derived features themselves are left
     * out.
     */
    static List<Input> of(Plan plan) {
      Map<String, Input> places = new HashMap<>();
      ColumnLayout layout = ColumnLayout.needed(plan);
      for (int i = 0; i < layout.size(); i++) {
        String name = "event." + layout.names().get(i);
        places.put(name, new Input(columnOf(name), -1, i, layout.type(i).element()));
      }
      List<Plan.View> views = plan.views();
      for (int i = 0; i < views.size(); i++) {
        List<Plan.Feature> features = views.get(i).features();
        for (int j = 0; j < features.size(); j++) {
          String name = views.get(i).name() + "." + features.get(j).name();
          places.put(name, new Input(columnOf(name), i, j, features.get(j).type().element()));
        }
      }
      return views.stream()
          .flatMap(view -> view.derived().stream())
          .flatMap(feature -> feature.inputs().stream())
          .distinct()
          .map(places::get)
          .filter(Objects::nonNull)
          .toList();
    }

    Object of(Event event) {
      ViewValues values = view < 0 ? null : event.views[view];
      Object value =
          view < 0 ? event.columns[index] : values == null ? null : values.features()[index];
      if (value instanceof Long number) {
        return number.doubleValue();
      }
      return value instanceof String text ? StringData.fromString(text) : value;
    }
  }

  /** Events to rows of {@link #inputs}. */
  static final class EventToInputRow extends RichMapFunction<Event, RowData> {
    private static final long serialVersionUID = 1;

    private final String planJson;
    private transient Input[] inputs;

    EventToInputRow(String planJson) {
      this.planJson = planJson;
    }

    @Override
    public void open(OpenContext context) {
      inputs = Input.of(Plan.parse(planJson)).toArray(Input[]::new);
    }

    @Override
    public RowData map(Event event) {
      GenericRowData row = new GenericRowData(inputs.length + 1);
      for (int i = 0; i < inputs.length; i++) {
        row.setField(i, inputs[i].of(event));
      }
      row.setField(inputs.length, RawValueData.fromObject(event));
      return row;
    }
  }

  /** Rows of {@link #outputs} to events, whose views then have their derived features. */
  static final class OutputRowToEvent extends RichMapFunction<RowData, Event> {
    private static final long serialVersionUID = 1;

    private final String planJson;
    private transient EventSerializer serializer;
    private transient List<Plan.View> views;
    private transient int width;

    /** Per derived feature, whether it only needs features of its own view. */
    private transient List<Boolean> own;

    OutputRowToEvent(String planJson) {
      this.planJson = planJson;
    }

    @Override
    public void open(OpenContext context) {
      views = Plan.parse(planJson).views();
      width = views.stream().mapToInt(view -> view.derived().size()).sum();
      serializer = new EventSerializer(planJson, false);
      own = views.stream().flatMap(view -> own(view).stream()).toList();
    }

    private static List<Boolean> own(Plan.View view) {
      Set<String> known = new HashSet<>();
      view.features().forEach(feature -> known.add(view.name() + "." + feature.name()));
      List<Boolean> own = new ArrayList<>();
      for (Plan.Derived feature : view.derived()) {
        own.add(known.containsAll(feature.inputs()));
        if (own.get(own.size() - 1)) {
          known.add(view.name() + "." + feature.name());
        }
      }
      return own;
    }

    @Override
    public Event map(RowData row) {
      RawValueData<Event> raw = row.getRawValue(width);
      Event event = raw.toObject(serializer);
      int column = 0;
      for (int i = 0; i < views.size(); i++) {
        ViewValues values = event.views[i];
        int index = views.get(i).features().size();
        for (Plan.Derived feature : views.get(i).derived()) {
          if (values != null) {
            // A timer's record holds only its own view.
            boolean isKnown = !event.isTimer || own.get(column);
            values.features()[index++] =
                isKnown ? EventRows.value(row, column, feature.type()) : null;
          }
          column++;
        }
      }
      return event;
    }
  }
}
