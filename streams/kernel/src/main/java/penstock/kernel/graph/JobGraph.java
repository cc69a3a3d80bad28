package penstock.kernel.graph;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.time.Duration;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.RowType;
import penstock.kernel.decode.DecodeFunction;
import penstock.kernel.decode.EventDecoder;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.decode.RawRecordSerializer;
import penstock.kernel.encode.EncodeFunction;
import penstock.kernel.encode.FeatureEncoder;
import penstock.kernel.encode.OutgoingRecord;
import penstock.kernel.encode.OutgoingRecordSerializer;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.SerializerTypeInfo;
import penstock.kernel.fill.Fill;
import penstock.kernel.fill.HoldOpen;
import penstock.kernel.fill.JoinFunction;
import penstock.kernel.lookup.LookupTables;
import penstock.kernel.plan.Plan;
import penstock.kernel.replay.ReplaySorter;
import penstock.kernel.replay.ReplaySource;
import penstock.kernel.replay.RetainedSource;
import penstock.kernel.replay.TimestampWatermarks;

/**
 * The JVM part of the job. {@code streams/flink/job_graph.py} connects its pieces: raw topics to
 * events, events to table rows and back (for columns computed by SQL or Python), events through the
 * stages to the features topic.
 */
public final class JobGraph {
  private static final Duration ALIGNMENT_INTERVAL = Duration.ofMillis(500);

  private final JobRequest request;
  private final Plan plan;
  private final Properties kafka;
  private final EventDecoder.DecoderSettings decoding;
  private final ColumnLayout layout;

  /**
   * For a request. Secrets are separate arguments, as the request may be logged.
   *
   * @param kafkaJson settings of every Kafka client, as a JSON object of strings
   * @throws IllegalArgumentException if the plan hashes personal fields and {@code personalKey} is
   *     empty, or the schema does not fit the plan
   */
  public JobGraph(String requestJson, String kafkaJson, byte[] personalKey) {
    this.request = JobRequest.parse(requestJson);
    this.kafka = properties(kafkaJson);
    this.plan = Plan.parse(request.plan());
    this.decoding =
        new EventDecoder.DecoderSettings(request.writers(), request.registryUrl(), personalKey);
    this.layout = ColumnLayout.needed(plan);
    // Fails here instead of in the cluster.
    for (int i = 0; i < plan.sources().size(); i++) {
      new EventDecoder(plan, i, layout, decoding, EventDecoder.NO_CLOCK);
    }
    new LookupTables(plan, layout, decoding);
    new FeatureEncoder(plan, request.featuresSchema());
    if (request.replay() != null
        && request.replay().lookups().size() != plan.referenceTopics().size()) {
      throw new IllegalArgumentException("the replay does not say which reference data it reads");
    }
  }

  /**
   * The valid events of the raw topics. Dead letters go to the dead-letter topics, except in a
   * replay: the live job has already published them.
   */
  public DataStream<Event> read(StreamExecutionEnvironment env) {
    boolean allFields = computesColumns();
    DataStream<RawRecord> raw = request.replay() == null ? liveRecords(env) : replayedRecords(env);
    SingleOutputStreamOperator<Event> events =
        raw.process(
                new DecodeFunction(
                    request.plan(),
                    allFields,
                    decoding,
                    request.limits().deadLetters(),
                    request.replay() != null,
                    kafka))
            .returns(eventType(allFields))
            .name("decode and validate")
            .uid("decode");
    for (int i = 0; request.replay() == null && i < plan.sources().size(); i++) {
      Plan.Source source = plan.sources().get(i);
      events
          .getSideOutput(DecodeFunction.deadLetters(i))
          .sinkTo(KafkaConnectors.deadLetters(source.deadLetterTopic(), kafka))
          .name(source.deadLetterTopic())
          .uid(i == 0 ? "dead-letters" : "dead-letters-" + source.topic());
    }
    return events;
  }

  private DataStream<RawRecord> liveRecords(StreamExecutionEnvironment env) {
    RetainedSource source =
        new RetainedSource(
            KafkaConnectors.source(request, plan, kafka),
            KafkaConnectors.earliest(request, plan),
            request.skipDeleted());
    return env.fromSource(source, WatermarkStrategy.noWatermarks(), topics()).uid("source");
  }

  private DataStream<RawRecord> replayedRecords(StreamExecutionEnvironment env) {
    // Records that wait for their order are in memory, so no partition may be read far ahead of the
    // others.
    WatermarkStrategy<RawRecord> byTimestamp =
        WatermarkStrategy.<RawRecord>forGenerator(context -> new TimestampWatermarks())
            .withWatermarkAlignment(
                "replay", Duration.ofMillis(request.replay().maxAheadMs()), ALIGNMENT_INTERVAL);
    ReplaySource source = new ReplaySource(KafkaConnectors.source(request, plan, kafka));
    Fill fill = request.fill();
    TypeInformation<RawRecord> type =
        new SerializerTypeInfo<>(RawRecord.class, new RawRecordSerializer());
    DataStream<RawRecord> records =
        env.fromSource(source, byTimestamp, topics())
            .uid(fill == null ? "source" : fill.uid("source"))
            .transform("replay order", type, new ReplaySorter(request.replay().maxPerS()))
            .uid(fill == null ? "replay-order" : fill.uid("replay-order"));
    return fill == null ? records : records.union(heldOpen(env, type));
  }

  @SuppressWarnings("deprecation") // see HoldOpen
  private static DataStream<RawRecord> heldOpen(
      StreamExecutionEnvironment env, TypeInformation<RawRecord> type) {
    return env.addSource(new HoldOpen(), "hold open", type).uid("hold-open");
  }

  /**
   * Adds the work of joining savepoints, in place of everything else.
   *
   * @param live the savepoint of the live job
   * @param filled the savepoint of a fill that ended at the positions of the live job
   * @param target the path of the savepoint to write
   */
  public static void join(
      StreamExecutionEnvironment env, String live, String filled, String target) {
    env.fromData(target)
        .map(new JoinFunction(live, filled))
        .returns(Types.STRING)
        .name("join savepoints")
        .sinkTo(new DiscardingSink<>());
  }

  private String topics() {
    return plan.sources().stream().map(Plan.Source::topic).collect(Collectors.joining(", "));
  }

  /** Whether the plan has derived columns or filters, so that events must pass through a table. */
  public boolean computesColumns() {
    return !plan.derived().isEmpty() || !plan.filters().isEmpty();
  }

  /**
   * The events as a table: the contract's fields, then columns about the record, which begin with
   * "__".
   */
  public Table toTable(StreamTableEnvironment tables, DataStream<Event> events) {
    SqlFunctions.register(tables);
    DataStream<RowData> rows =
        events
            .map(new EventRows.EventToRow(request.plan()))
            .returns(InternalTypeInfo.of(EventRows.type(ColumnLayout.contract(plan))))
            .name("to row");
    return tables.fromDataStream(rows);
  }

  /** The columns that {@link #fromTable} expects, in order. */
  public String[] tableColumns() {
    return EventRows.type(layout).getFieldNames().toArray(String[]::new);
  }

  /** The rows as events. */
  public DataStream<Event> fromTable(StreamTableEnvironment tables, Table table) {
    DataType type = DataTypes.of(EventRows.type(layout)).notNull().bridgedTo(RowData.class);
    DataStream<RowData> rows = tables.toDataStream(table, type);
    return rows.map(new EventRows.RowToEvent(request.plan()))
        .returns(eventType(false))
        .name("from row");
  }

  /**
   * Sends the events through the stages, which add their views. In a replay, only events in its
   * range follow.
   */
  public DataStream<Event> windows(DataStream<Event> events) {
    return new Stages(request, plan, layout).addTo(events);
  }

  /**
   * Whether the plan has derived features, so that events must pass through a table after the
   * stages.
   */
  public boolean computesFeatures() {
    return plan.views().stream().anyMatch(view -> !view.derived().isEmpty());
  }

  /** The events as a table: the inputs of the derived features, and the event itself. */
  public Table toFeatureTable(StreamTableEnvironment tables, DataStream<Event> events) {
    SqlFunctions.register(tables);
    DataStream<RowData> rows =
        events
            .map(new FeatureRows.EventToInputRow(request.plan()))
            .setParallelism(events.getParallelism())
            .returns(InternalTypeInfo.of(FeatureRows.inputs(plan, eventSerializer(false))))
            .name("to features");
    return tables.fromDataStream(rows);
  }

  /** The columns that {@link #fromFeatureTable} expects, in order. */
  public String[] featureTableColumns() {
    return FeatureRows.outputs(plan, eventSerializer(false)).getFieldNames().toArray(String[]::new);
  }

  /** The rows as events with derived features. */
  public DataStream<Event> fromFeatureTable(StreamTableEnvironment tables, Table table) {
    RowType outputs = FeatureRows.outputs(plan, eventSerializer(false));
    DataType type = DataTypes.of(outputs).notNull().bridgedTo(RowData.class);
    DataStream<RowData> rows = tables.toDataStream(table, type);
    return rows.map(new FeatureRows.OutputRowToEvent(request.plan()))
        .setParallelism(rows.getParallelism())
        .returns(eventType(false))
        .name("from features");
  }

  /**
   * Publishes the features of events that have passed all stages. A record that is too long becomes
   * a dead letter, except in a replay. A fill publishes nothing.
   */
  public void write(DataStream<Event> events) {
    if (request.fill() != null) {
      events.sinkTo(new DiscardingSink<>()).name("nothing").uid("nothing");
      return;
    }
    JobRequest.Limits limits = request.limits();
    SingleOutputStreamOperator<OutgoingRecord> records =
        events
            .process(
                new EncodeFunction(
                    request.plan(),
                    request.featuresSchema(),
                    limits.features(),
                    limits.unpublished()))
            .returns(new SerializerTypeInfo<>(OutgoingRecord.class, new OutgoingRecordSerializer()))
            .setParallelism(events.getParallelism())
            .name("encode")
            .uid("encode");
    if (request.replay() == null) {
      records
          .getSideOutput(EncodeFunction.DEAD_LETTERS)
          .sinkTo(KafkaConnectors.deadLetters(request.unpublishedTopic(), kafka))
          .name(request.unpublishedTopic())
          .uid("unpublished");
    }
    records
        .sinkTo(KafkaConnectors.features(request, plan, kafka))
        .setParallelism(records.getParallelism())
        .name(plan.featuresTopic())
        .uid("features");
  }

  private static Properties properties(String json) {
    try {
      return new ObjectMapper().readValue(json, Properties.class);
    } catch (JsonProcessingException error) {
      // The cause would quote the text, which contains passwords.
      throw new IllegalArgumentException("the Kafka settings are not a JSON object of strings");
    }
  }

  private TypeInformation<Event> eventType(boolean allFields) {
    return new SerializerTypeInfo<>(Event.class, eventSerializer(allFields));
  }

  private EventSerializer eventSerializer(boolean allFields) {
    return new EventSerializer(request.plan(), allFields);
  }
}
