package penstock.kernel.graph;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.ArrayType;
import org.apache.flink.table.types.logical.BigIntType;
import org.apache.flink.table.types.logical.BooleanType;
import org.apache.flink.table.types.logical.DoubleType;
import org.apache.flink.table.types.logical.IntType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.VarBinaryType;
import org.apache.flink.table.types.logical.VarCharType;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.ColumnType;
import penstock.kernel.plan.FeatureType;
import penstock.kernel.plan.Plan;

/**
 * Events as rows of a table: the columns of a layout, then key, source, partition, offset,
 * timestamp, id and time.
 */
final class EventRows {
  private EventRows() {}

  static RowType type(ColumnLayout layout) {
    List<RowType.RowField> fields = new ArrayList<>();
    for (int i = 0; i < layout.size(); i++) {
      fields.add(new RowType.RowField(layout.names().get(i), sqlType(layout.type(i))));
    }
    fields.add(new RowType.RowField("__key", new VarBinaryType(VarBinaryType.MAX_LENGTH)));
    fields.add(new RowType.RowField("__source", new IntType()));
    fields.add(new RowType.RowField("__partition", new IntType()));
    fields.add(new RowType.RowField("__offset", new BigIntType()));
    fields.add(new RowType.RowField("__timestamp", new BigIntType()));
    fields.add(new RowType.RowField("__id", new VarCharType(VarCharType.MAX_LENGTH)));
    fields.add(new RowType.RowField("__time", new BigIntType()));
    return new RowType(fields);
  }

  static LogicalType sqlType(FeatureType type) {
    LogicalType element = sqlType(type.element());
    return type.isList() ? new ArrayType(element) : element;
  }

  static LogicalType sqlType(ColumnType type) {
    return switch (type) {
      case STRING -> new VarCharType(VarCharType.MAX_LENGTH);
      case LONG -> new BigIntType();
      case DOUBLE -> new DoubleType();
      case BOOLEAN -> new BooleanType();
    };
  }

  /** The value of a column; null if it is null, NaN or infinite. */
  static Object value(RowData row, int index, ColumnType type) {
    if (row.isNullAt(index)) {
      return null;
    }
    return switch (type) {
      case STRING -> row.getString(index).toString();
      case LONG -> row.getLong(index);
      case BOOLEAN -> row.getBoolean(index);
      case DOUBLE -> {
        // Aggregates do not accept NaN or infinity. An expression that computes one gives null.
        double value = row.getDouble(index);
        yield Double.isFinite(value) ? (Object) value : null;
      }
    };
  }

  private static Object value(RowData row, int index, FeatureType type) {
    if (!type.isList()) {
      return value(row, index, type.element());
    }
    if (row.isNullAt(index)) {
      return null;
    }
    ArrayData array = row.getArray(index);
    List<Object> elements = new ArrayList<>(array.size());
    for (int i = 0; i < array.size(); i++) {
      elements.add(
          switch (type.element()) {
            case STRING -> array.getString(i).toString();
            case LONG -> array.getLong(i);
            case DOUBLE -> array.getDouble(i);
            case BOOLEAN -> array.getBoolean(i);
          });
    }
    return elements;
  }

  private static Object sqlValue(Object value) {
    if (value instanceof List<?> elements) {
      return new GenericArrayData(elements.stream().map(EventRows::sqlValue).toArray());
    }
    return value instanceof String text ? StringData.fromString(text) : value;
  }

  /** Events with all fields of the contract to rows. */
  static final class EventToRow extends RichMapFunction<Event, RowData> {
    private static final long serialVersionUID = 1;

    private final String planJson;
    private transient int width;

    EventToRow(String planJson) {
      this.planJson = planJson;
    }

    @Override
    public void open(OpenContext context) {
      width = ColumnLayout.contract(Plan.parse(planJson)).size();
    }

    @Override
    public RowData map(Event event) {
      GenericRowData row = new GenericRowData(width + 7);
      for (int i = 0; i < width; i++) {
        row.setField(i, sqlValue(event.columns[i]));
      }
      row.setField(width, event.key);
      row.setField(width + 1, event.source);
      row.setField(width + 2, event.partition);
      row.setField(width + 3, event.offset);
      row.setField(width + 4, event.timestamp);
      row.setField(width + 5, StringData.fromString(event.id));
      row.setField(width + 6, event.time);
      return row;
    }
  }

  /** Rows with the columns that the stages need to events. */
  static final class RowToEvent extends RichMapFunction<RowData, Event> {
    private static final long serialVersionUID = 1;

    private final String planJson;
    private transient ColumnLayout layout;
    private transient int views;

    RowToEvent(String planJson) {
      this.planJson = planJson;
    }

    @Override
    public void open(OpenContext context) {
      Plan plan = Plan.parse(planJson);
      layout = ColumnLayout.needed(plan);
      views = plan.views().size();
    }

    @Override
    public Event map(RowData row) {
      int width = layout.size();
      Event event = new Event();
      event.columns = new Object[width];
      for (int i = 0; i < width; i++) {
        event.columns[i] = value(row, i, layout.type(i));
      }
      event.key = row.isNullAt(width) ? null : row.getBinary(width);
      event.source = row.getInt(width + 1);
      event.partition = row.getInt(width + 2);
      event.offset = row.getLong(width + 3);
      event.timestamp = row.getLong(width + 4);
      event.id = row.getString(width + 5).toString();
      event.time = row.getLong(width + 6);
      event.views = new ViewValues[views];
      return event;
    }
  }
}
