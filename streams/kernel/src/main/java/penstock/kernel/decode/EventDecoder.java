package penstock.kernel.decode;

import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongSupplier;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;
import penstock.kernel.decode.InvalidEventException.Reason;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.ViewValues;
import penstock.kernel.plan.Plan;

/**
 * Decodes raw records to valid events. The tests compare it with {@code
 * schemas.codec.decode_event}.
 */
public final class EventDecoder {
  /** The clock of a replay, which decides by Kafka's timestamps alone. */
  public static final LongSupplier NO_CLOCK = () -> Long.MAX_VALUE;

  private static final int MARKER_LENGTH = 2;
  private static final int HEADER_LENGTH = 10;
  private static final int CONFLUENT_HEADER_LENGTH = 5;

  private final int number;
  private final Plan.Source source;
  private final Map<String, Integer> indexes = new HashMap<>();
  private final FieldValidator[] validators;
  private final Envelope envelope;
  private final List<Plan.Field> read;
  private final FieldTree tree;
  private final JsonDecoder json;
  private final Map<Long, AvroDecoder> byFingerprint = new HashMap<>();
  private final Map<Integer, ValueDecoder> byId = new HashMap<>();
  private final SchemaRegistry registry;
  private final LongSupplier clock;
  private final PersonalData personal;
  private final int timeIndex;
  private final long earliest;
  private final int idIndex;
  private final String idPrefix;
  private final List<String> reservedIds;
  private final int typeIndex;
  private final int[] targets;
  private final int width;
  private final int views;

  /**
   * What the decoder needs beside the plan.
   *
   * @param writers per source, then per lookup, the Avro schemas that its producers may write with:
   *     all committed versions of its contract
   * @param registryUrl of a Confluent schema registry; null if there is none
   * @param personalKey key of the keyed hash; null if the contract hashes nothing
   */
  public record DecoderSettings(List<List<String>> writers, String registryUrl, byte[] personalKey)
      implements Serializable {
    private static final long serialVersionUID = 1;

    /** Leaves out the key, as settings may be logged. */
    @Override
    public String toString() {
      return "DecoderSettings[registryUrl=" + registryUrl + "]";
    }
  }

  /**
   * For the events of source {@code number} of the plan. Events carry the columns of {@code
   * layout}. {@code clock} is the time in epoch ms, beside Kafka's timestamps, that events may not
   * be far ahead of.
   */
  public EventDecoder(
      Plan plan, int number, ColumnLayout layout, DecoderSettings settings, LongSupplier clock) {
    this(
        plan,
        plan.sources().get(number),
        number,
        settings.writers().get(number),
        layout,
        settings,
        clock);
  }

  /** For the records of lookup {@code lookup} of the plan, which {@link #row} decodes. */
  public static EventDecoder ofLookup(Plan plan, int lookup, DecoderSettings settings) {
    return new EventDecoder(
        plan,
        plan.lookups().get(lookup).source(),
        0,
        settings.writers().get(plan.sources().size() + lookup),
        ColumnLayout.contract(plan),
        settings,
        NO_CLOCK);
  }

  private EventDecoder(
      Plan plan,
      Plan.Source source,
      int number,
      List<String> writers,
      ColumnLayout layout,
      DecoderSettings settings,
      LongSupplier clock) {
    this.number = number;
    this.clock = clock;
    this.source = source;
    List<Plan.Field> fields = source.fields();
    this.validators = new FieldValidator[fields.size()];
    this.targets = new int[fields.size()];
    for (int i = 0; i < validators.length; i++) {
      indexes.put(fields.get(i).name(), i);
      validators[i] =
          new FieldValidator(fields.get(i), source.contract() + "@" + source.contractVersion());
      targets[i] = layout.indexOf(fields.get(i).name());
    }
    this.envelope = Envelope.of(source);
    this.read = envelope.read();
    this.tree = FieldTree.of(read);
    this.json = new JsonDecoder(tree, read.size());
    for (String text : writers) {
      Schema schema = new Schema.Parser().parse(text);
      byFingerprint.put(SchemaNormalization.parsingFingerprint64(schema), avro(schema));
    }
    this.registry =
        settings.registryUrl() == null ? null : new SchemaRegistry(settings.registryUrl());
    this.personal = new PersonalData(plan, source, settings.personalKey());
    this.timeIndex = source.eventTime() == null ? -1 : indexes.get(source.eventTime());
    boolean bounded = timeIndex >= 0 && fields.get(timeIndex).minimum() != null;
    this.earliest = bounded ? Long.MIN_VALUE : EventTimes.EARLIEST_MS;
    this.idIndex = source.eventId() == null ? -1 : indexes.get(source.eventId());
    this.idPrefix = plan.idPrefix(number);
    this.reservedIds = plan.reservedIds(number);
    this.typeIndex = layout.indexOf(Plan.EVENT_TYPE);
    this.width = layout.size();
    this.views = plan.views().size();
  }

  /**
   * Decodes and validates a record; null if it is no event in the source's envelope.
   *
   * @throws InvalidEventException if the record is a dead letter
   * @throws IOException if the schema registry does not answer; the event may be valid
   */
  public Event decode(RawRecord record)
      throws InvalidEventException, IOException, InterruptedException {
    Object[] fields = valid(record);
    if (fields == null) {
      return null;
    }
    if (idIndex >= 0 && ((String) fields[idIndex]).isEmpty()) {
      throw new InvalidEventException(
          Reason.INVALID_FIELD, path(idIndex) + ": an event id must not be empty");
    }
    for (String prefix : idIndex >= 0 ? reservedIds : List.<String>of()) {
      if (((String) fields[idIndex]).startsWith(prefix)) {
        throw new InvalidEventException(
            Reason.INVALID_FIELD,
            path(idIndex) + ": begins with " + prefix + ", as the ids of another source do");
      }
    }
    long time = (Long) fields[timeIndex];
    checkTime(record, time);
    personal.protect(fields);
    return event(record, fields, time);
  }

  /**
   * Decodes and validates a record of reference data: the fields of its contract, in their order.
   *
   * @throws InvalidEventException if it is invalid, or a tombstone
   * @throws IOException if the schema registry does not answer; the record may be valid
   */
  public Object[] row(RawRecord record)
      throws InvalidEventException, IOException, InterruptedException {
    Object[] fields = valid(record);
    personal.protect(fields);
    return fields;
  }

  /** A personal value, here of a record's key, as its field would have it. */
  public String hash(String value) {
    return personal.hash(value);
  }

  /** The fields of a record; null if it is no event in the source's envelope. */
  private Object[] valid(RawRecord record)
      throws InvalidEventException, IOException, InterruptedException {
    if (record.value() == null && !envelope.mayLackValue(record)) {
      throw new InvalidEventException(Reason.TOMBSTONE, "the record has no value");
    }
    if (record.value() != null && record.value().length > source.maxBytes()) {
      throw new InvalidEventException(
          Reason.TOO_LARGE,
          record.value().length + " bytes, more than the " + source.maxBytes() + " allowed");
    }
    Object[] fields;
    try {
      fields = envelope.open(record, this::fields);
    } catch (InvalidEventException invalid) {
      throw new InvalidEventException(
          invalid.reason, invalid.getMessage() + Framing.inHeader(record.headers()));
    }
    if (fields == null) {
      return null;
    }
    for (int i = 0; i < validators.length; i++) {
      Object value = WrittenValue.column(source.fields().get(i), i == timeIndex, fields[i]);
      fields[i] = validators[i].validate(value);
    }
    return fields;
  }

  private void checkTime(RawRecord record, long time) throws InvalidEventException {
    if (time < earliest) {
      throw new InvalidEventException(
          Reason.INVALID_FIELD,
          path(timeIndex)
              + ": before 2000-01-01, the earliest event time of a contract without a bound of its"
              + " own (Field(ge=...))"
              + hint(time));
    }
    // A producer with a wrong clock may set Kafka's timestamp as well.
    long received = record.timestamp() >= 0 ? record.timestamp() : Long.MAX_VALUE;
    long now = Math.min(received, clock.getAsLong());
    if (time > now && time - now > source.maxFutureMs()) {
      throw new InvalidEventException(
          Reason.FUTURE_EVENT,
          path(timeIndex)
              + ": further ahead of "
              + (now == received ? "the record's Kafka timestamp" : "the job's clock")
              + " than the source allows"
              + hint(time));
    }
  }

  private AvroDecoder avro(Schema writer) {
    return new AvroDecoder(writer, tree, read, source.eventTime());
  }

  private String path(int index) {
    return source.fields().get(index).path();
  }

  private String hint(long time) {
    boolean inMs = source.fields().get(timeIndex).written() == null;
    return inMs ? EventTimes.looksLike(time) : "";
  }

  private Event event(RawRecord record, Object[] fields, long time) {
    Event event = new Event();
    event.key = personal.protectKey(record.key(), source.key(), fields, indexes);
    event.source = number;
    event.partition = record.partition();
    event.offset = record.offset();
    event.timestamp = record.timestamp();
    event.time = time;
    event.id =
        idIndex >= 0
            ? idPrefix + fields[idIndex]
            : source.topic() + "/" + record.partition() + "/" + record.offset();
    event.columns = new Object[width];
    for (int i = 0; i < targets.length; i++) {
      if (targets[i] >= 0) {
        event.columns[targets[i]] = fields[i];
      }
    }
    if (typeIndex >= 0) {
      event.columns[typeIndex] = source.contract();
    }
    event.views = new ViewValues[views];
    return event;
  }

  private Object[] fields(byte[] value)
      throws InvalidEventException, IOException, InterruptedException {
    if (value.length >= MARKER_LENGTH && value[0] == (byte) 0xC3 && value[1] == 1) {
      return singleObject(value);
    }
    String foreign = Framing.foreign(value);
    if (foreign != null) {
      throw new InvalidEventException(Reason.UNDECODABLE, foreign);
    }
    if (value.length >= 1 && value[0] == 0) {
      return confluent(value);
    }
    return json.decode(value, 0);
  }

  private Object[] singleObject(byte[] value) throws InvalidEventException {
    if (value.length < HEADER_LENGTH) {
      throw new InvalidEventException(
          Reason.UNDECODABLE, "Avro single-object encoding without its fingerprint");
    }
    long fingerprint = ByteBuffer.wrap(value).order(ByteOrder.LITTLE_ENDIAN).getLong(MARKER_LENGTH);
    AvroDecoder decoder = byFingerprint.get(fingerprint);
    if (decoder == null) {
      String hex = String.format("%016x", Long.reverseBytes(fingerprint));
      throw new InvalidEventException(
          Reason.UNKNOWN_SCHEMA,
          "no committed version of contract " + source.contract() + " has the fingerprint " + hex);
    }
    return decoder.decode(value, HEADER_LENGTH);
  }

  private Object[] confluent(byte[] value)
      throws InvalidEventException, IOException, InterruptedException {
    if (registry == null) {
      throw new InvalidEventException(
          Reason.UNDECODABLE,
          "it looks like Confluent framing, but no schema registry is configured");
    }
    if (value.length < CONFLUENT_HEADER_LENGTH) {
      throw new InvalidEventException(
          Reason.UNDECODABLE, "Confluent framing without its schema id");
    }
    int id = ByteBuffer.wrap(value).getInt(1);
    ValueDecoder decoder = byId.get(id);
    if (decoder == null) {
      WriterSchema schema = registry.schema(id);
      if (schema instanceof WriterSchema.Avro found) {
        decoder = avro(found.schema());
      } else if (schema instanceof WriterSchema.Protobuf found) {
        if (envelope instanceof DebeziumEnvelope) {
          throw new InvalidEventException(
              Reason.UNDECODABLE, "a change of Debezium in Protobuf; JSON and Avro are read");
        }
        decoder = new ProtobufDecoder(found.file(), tree, read, source.eventTime());
      } else {
        decoder = json;
      }
      byId.put(id, decoder);
    }
    return decoder.decode(value, CONFLUENT_HEADER_LENGTH);
  }
}
