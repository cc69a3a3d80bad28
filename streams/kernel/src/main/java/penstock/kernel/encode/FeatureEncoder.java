package penstock.kernel.encode;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.ColumnType;
import penstock.kernel.plan.FeatureType;
import penstock.kernel.plan.Plan;

/**
 * Writes feature records in Avro single-object encoding, with the schema that {@code
 * schemas.records.features_schema} builds.
 */
public final class FeatureEncoder {
  private static final int EXCERPT_CHARACTERS = 256;
  private static final int EXCERPT_ELEMENTS = 16;
  private static final List<String> LEADING =
      List.of("event_id", "event_time", "trigger", "attempt", "source", "event");

  private final String[] topics;
  private final byte[] header;
  private final FieldEncoding[] passthrough;
  private final int[] passthroughIndexes;
  private final FieldEncoding[][] views;
  private final int[] presentBranch;
  private final AvroBytes out = new AvroBytes();
  private boolean isExcerpt;

  /**
   * How to write a field: its type and the indexes of its union's branches, which are -1 for a
   * field that is no union.
   */
  private record FieldEncoding(FeatureType type, int valueBranch, int nullBranch) {
    static FieldEncoding of(Schema.Field field, FeatureType type) {
      Schema schema = field.schema();
      if (schema.getType() != Schema.Type.UNION) {
        return new FieldEncoding(type, -1, -1);
      }
      int nullBranch = schema.getTypes().get(0).getType() == Schema.Type.NULL ? 0 : 1;
      return new FieldEncoding(type, 1 - nullBranch, nullBranch);
    }
  }

  /**
   * For the events of a plan.
   *
   * @throws IllegalArgumentException if the schema is not that of the plan's feature records
   */
  public FeatureEncoder(Plan plan, String schemaJson) {
    Schema schema = new Schema.Parser().parse(schemaJson);
    List<Schema.Field> fields = schema.getFields();
    List<Plan.View> planned = plan.views();
    require(names(fields.subList(0, LEADING.size())).equals(LEADING), schemaJson);
    require(
        names(fields.subList(LEADING.size(), fields.size()))
            .equals(planned.stream().map(Plan.View::name).toList()),
        schemaJson);
    this.topics = plan.sources().stream().map(Plan.Source::topic).toArray(String[]::new);
    this.header =
        ByteBuffer.allocate(10)
            .put((byte) 0xC3)
            .put((byte) 1)
            .order(ByteOrder.LITTLE_ENDIAN)
            .putLong(SchemaNormalization.parsingFingerprint64(schema))
            .array();
    ColumnLayout layout = ColumnLayout.needed(plan);
    List<Schema.Field> event = schema.getField("event").schema().getFields();
    require(
        names(event).equals(plan.passthrough().stream().map(column -> column.get(0)).toList()),
        schemaJson);
    this.passthrough = new FieldEncoding[event.size()];
    this.passthroughIndexes = new int[event.size()];
    for (int i = 0; i < passthrough.length; i++) {
      passthroughIndexes[i] = layout.indexOf(event.get(i).name());
      passthrough[i] = FieldEncoding.of(event.get(i), layout.type(passthroughIndexes[i]));
    }
    this.views = new FieldEncoding[planned.size()][];
    this.presentBranch = new int[planned.size()];
    for (int i = 0; i < views.length; i++) {
      Schema union = fields.get(LEADING.size() + i).schema();
      presentBranch[i] = union.getTypes().get(0).getType() == Schema.Type.NULL ? 1 : 0;
      views[i] = view(planned.get(i), union.getTypes().get(presentBranch[i]), schemaJson);
    }
  }

  private static FieldEncoding[] view(Plan.View view, Schema schema, String schemaJson) {
    List<Schema.Field> fields = schema.getFields();
    List<Schema.Field> features = fields.subList(5, fields.size());
    require(
        names(fields.subList(0, 5)).equals(List.of("entity", "epoch", "seq", "as_of", "late")),
        schemaJson);
    require(
        names(features).equals(view.outputs().stream().map(Plan.Output::name).toList()),
        schemaJson);
    FieldEncoding[] result = new FieldEncoding[features.size()];
    for (int i = 0; i < result.length; i++) {
      result[i] = FieldEncoding.of(features.get(i), view.outputs().get(i).type());
    }
    return result;
  }

  private static List<String> names(List<Schema.Field> fields) {
    return fields.stream().map(Schema.Field::name).toList();
  }

  private static void require(boolean holds, String schemaJson) {
    if (!holds) {
      throw new IllegalArgumentException(
          "not the schema of the plan's feature records: " + schemaJson);
    }
  }

  /** The feature record of an event that has passed all stages. */
  public byte[] encode(Event event, long attempt) {
    return encode(event, attempt, false);
  }

  /**
   * The same record, with the first 256 characters of each text and 16 elements of each list. So
   * its length is bounded by the number of its fields.
   */
  public byte[] excerpt(Event event, long attempt) {
    return encode(event, attempt, true);
  }

  private byte[] encode(Event event, long attempt, boolean isExcerpt) {
    this.isExcerpt = isExcerpt;
    out.clear();
    out.writeRaw(header);
    writeText(event.isTimer ? "" : event.id);
    out.writeLong(event.time);
    out.writeString(event.isTimer ? "timer" : "event");
    out.writeLong(attempt);
    out.writeString(topics[event.source]);
    out.writeLong(event.partition);
    out.writeLong(event.offset);
    out.writeLong(event.timestamp);
    for (int i = 0; i < passthrough.length; i++) {
      write(passthrough[i], event.columns[passthroughIndexes[i]]);
    }
    for (int i = 0; i < views.length; i++) {
      ViewValues view = event.views[i];
      out.writeLong(view == null ? 1 - presentBranch[i] : presentBranch[i]);
      if (view != null) {
        write(views[i], view);
      }
    }
    return out.toArray();
  }

  private void write(FieldEncoding[] fields, ViewValues view) {
    writeText(view.entity());
    out.writeLong(view.epoch());
    out.writeLong(view.seq());
    out.writeLong(view.asOf());
    out.writeBoolean(view.late());
    for (int i = 0; i < fields.length; i++) {
      write(fields[i], view.features()[i]);
    }
  }

  private void write(FieldEncoding field, Object value) {
    if (field.valueBranch() >= 0) {
      out.writeLong(value == null ? field.nullBranch() : field.valueBranch());
      if (value == null) {
        return;
      }
    }
    if (field.type().isList()) {
      writeList(field.type().element(), (List<?>) value);
    } else {
      write(field.type().element(), value);
    }
  }

  private void writeList(ColumnType element, List<?> values) {
    int size = isExcerpt ? Math.min(values.size(), EXCERPT_ELEMENTS) : values.size();
    if (size > 0) {
      out.writeLong(size);
    }
    for (Object value : values.subList(0, size)) {
      write(element, value);
    }
    out.writeLong(0);
  }

  private void writeText(String text) {
    boolean isLonger =
        isExcerpt
            && text.length() > EXCERPT_CHARACTERS
            && text.codePointCount(0, text.length()) > EXCERPT_CHARACTERS;
    out.writeString(
        isLonger ? text.substring(0, text.offsetByCodePoints(0, EXCERPT_CHARACTERS)) : text);
  }

  private void write(ColumnType type, Object value) {
    switch (type) {
      case STRING -> writeText((String) value);
      case LONG -> out.writeLong((Long) value);
      case DOUBLE -> out.writeDouble((Double) value);
      case BOOLEAN -> out.writeBoolean((Boolean) value);
    }
  }
}
