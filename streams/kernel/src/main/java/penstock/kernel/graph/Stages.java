package penstock.kernel.graph;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.FilterFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.DataStreamUtils;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.operators.KeyedProcessOperator;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.SerializerTypeInfo;
import penstock.kernel.order.EventTimeSorter;
import penstock.kernel.order.WatermarkSupplier;
import penstock.kernel.plan.Plan;
import penstock.kernel.replay.Numbering;
import penstock.kernel.replay.Replay;
import penstock.kernel.replay.ViewsMerger;
import penstock.kernel.stage.AcceptFunction;
import penstock.kernel.stage.DeduplicationFunction;
import penstock.kernel.stage.EntityKeySelector;
import penstock.kernel.stage.StageFunction;

/**
 * The stages of the job, and what puts their events in order: one after the other in a live job,
 * side by side in a replay.
 */
final class Stages {
  private final JobRequest request;
  private final Plan plan;
  private final ColumnLayout layout;
  private final TypeInformation<Event> eventType;

  Stages(JobRequest request, Plan plan, ColumnLayout layout) {
    this.request = request;
    this.plan = plan;
    this.layout = layout;
    this.eventType =
        new SerializerTypeInfo<>(Event.class, new EventSerializer(request.plan(), false));
  }

  /** The events with their views; in a replay, only those in its range. */
  DataStream<Event> addTo(DataStream<Event> events) {
    DataStream<Event> stream = events;
    if (AcceptFunction.isNeeded(plan)) {
      stream = stream.filter(new AcceptFunction(request.plan())).name("accept").uid("accept");
    }
    // The state of a fill joins that of the live job, so its stages are those.
    boolean isLive = request.replay() == null || request.fill() != null;
    return isLive ? oneAfterTheOther(stream) : sideBySide(stream);
  }

  /** The stages of a live job. A single task has them all without an exchange. */
  private DataStream<Event> oneAfterTheOther(DataStream<Event> events) {
    boolean ordered = plan.source().isOrdered();
    boolean refreshes =
        request.replay() == null && plan.views().stream().anyMatch(Plan.View::refreshes);
    DataStream<Event> stream = ordered || refreshes ? withWatermarks(events) : events;
    String sourceKey = plan.source().key();
    // The stage with the source's key comes first, whatever its place in a record, and
    // de-duplicates. Its de-duplication state is then kept when other entities are added.
    List<Plan.Stage> stages = new ArrayList<>(plan.stages());
    stages.sort(Comparator.comparing(stage -> !stage.key().equals(sourceKey)));
    // With event-time order, de-duplicate before events are buffered: the first copy to arrive
    // counts.
    // In a fill too: of its states, only those of the entities join the live job's.
    boolean firstDeduplicates =
        plan.needsDeduplication()
            && !ordered
            && request.fill() == null
            && stages.get(0).key().equals(sourceKey);
    if (plan.needsDeduplication() && !firstDeduplicates) {
      stream = deduplicated(stream);
    }
    for (int i = 0; i < stages.size(); i++) {
      Plan.Stage stage = stages.get(i);
      if (ordered) {
        stream =
            keyed(
                    stream,
                    key(stage.key()),
                    new KeyedProcessOperator<>(new EventTimeSorter(request.plan(), i == 0)))
                .name("event time of " + stage.entity())
                .uid("order-" + stage.entity());
      }
      stream =
          keyed(stream, key(stage.key()), stage(stage, firstDeduplicates && i == 0, refreshes))
              .name("windows of " + stage.entity())
              .uid("stage-" + stage.entity());
    }
    return plan.hasUpdates()
        ? stream.filter(new TriggerFilter(plan)).name("triggering").uid("triggering")
        : stream;
  }

  /**
   * The stages of a replay. A single task puts the events in order and sends each to
   * every stage, so all tasks of a stage see the events of their entities in that order. What the
   * stages have made of an event is put together in the order of the replay again, so the rows are
   * the same with every number of tasks.
   */
  private DataStream<Event> sideBySide(DataStream<Event> events) {
    Replay replay = request.replay();
    boolean ordered = plan.source().isOrdered();
    DataStream<Event> stream = ordered ? withWatermarks(events) : events;
    if (plan.needsDeduplication()) {
      stream = deduplicated(stream);
    }
    if (ordered) {
      // All entities at once: within an entity, that is the order of the live job.
      stream =
          keyed(
                  stream,
                  event -> "",
                  new KeyedProcessOperator<>(new EventTimeSorter(request.plan(), true)))
              .name("event time")
              .uid("order");
    }
    stream = stream.transform("number", eventType, new Numbering()).uid("number");
    DataStream<Event> views = null;
    for (Plan.Stage stage : plan.stages()) {
      SingleOutputStreamOperator<Event> part =
          stream
              .keyBy(key(stage.key()), Types.STRING)
              .transform("windows of " + stage.entity(), eventType, stage(stage, false, false))
              .setParallelism(replay.parallelism())
              .uid("windows-" + stage.entity())
              .filter(new PublishedFilter(plan, replay))
              .setParallelism(replay.parallelism())
              .name("in range");
      if (views == null) {
        views = part;
      } else {
        views =
            views.union(
                part.map(new ViewsMerger.ViewsOnly())
                    .returns(eventType)
                    .setParallelism(replay.parallelism())
                    .name("views only"));
      }
    }
    return views
        .partitionCustom((partition, tasks) -> partition % tasks, event -> event.partition)
        .transform("merge", eventType, new ViewsMerger())
        .setParallelism(replay.parallelism())
        .uid("merge");
  }

  private DataStream<Event> deduplicated(DataStream<Event> events) {
    DeduplicationFunction function = new DeduplicationFunction(request.plan(), request.waitMs());
    return keyed(events, key(plan.source().key()), function.operator())
        .name("de-duplicate")
        .uid("deduplicate");
  }

  private KeyedProcessOperator<String, Event, Event> stage(
      Plan.Stage stage, boolean deduplicates, boolean refreshes) {
    return new StageFunction(
            request.plan(),
            stage.entity(),
            deduplicates,
            request.submissionMs(),
            request.waitMs(),
            refreshes,
            request.fill() == null ? null : request.fill().stateName())
        .operator();
  }

  private EntityKeySelector key(String column) {
    return new EntityKeySelector(EntityKey.of(plan, layout, column));
  }

  /** Adds event times and watermarks. */
  private DataStream<Event> withWatermarks(DataStream<Event> events) {
    Replay replay = request.replay();
    int partitions =
        replay == null
            ? plan.sources().stream().mapToInt(Plan.Source::partitions).sum()
            : replay.start().size();
    WatermarkSupplier watermarks =
        new WatermarkSupplier(plan.source(), partitions, events.getParallelism(), replay != null);
    return events
        .assignTimestampsAndWatermarks(
            WatermarkStrategy.forGenerator(watermarks)
                .withTimestampAssigner((event, timestamp) -> event.time))
        .name("event time")
        .uid("event-time");
  }

  private SingleOutputStreamOperator<Event> keyed(
      DataStream<Event> stream,
      KeySelector<Event, String> key,
      KeyedProcessOperator<String, Event, Event> operator) {
    // A single task needs no exchange: its stages are chained. State still has key groups, so that
    // the job can scale out later.
    KeyedStream<Event, String> keyed =
        stream.getParallelism() == 1
            ? DataStreamUtils.reinterpretAsKeyedStream(stream, key, Types.STRING)
            : stream.keyBy(key, Types.STRING);
    return keyed.transform("keyed", eventType, operator);
  }

  /** Drops events that give no rows, after the stages. */
  private static final class PublishedFilter implements FilterFunction<Event> {
    private static final long serialVersionUID = 1;

    private final TriggerFilter triggers;
    private final Replay replay;

    PublishedFilter(Plan plan, Replay replay) {
      this.triggers = new TriggerFilter(plan);
      this.replay = replay;
    }

    @Override
    public boolean filter(Event event) {
      return replay.includes(event.time) && triggers.filter(event);
    }
  }

  /** Drops events of sources that only update windows, after the stages. */
  private static final class TriggerFilter implements FilterFunction<Event> {
    private static final long serialVersionUID = 1;

    private final boolean[] triggers;

    TriggerFilter(Plan plan) {
      triggers = new boolean[plan.sources().size()];
      for (int i = 0; i < triggers.length; i++) {
        triggers[i] = plan.sources().get(i).triggers();
      }
    }

    @Override
    public boolean filter(Event event) {
      return triggers[event.source];
    }
  }
}
