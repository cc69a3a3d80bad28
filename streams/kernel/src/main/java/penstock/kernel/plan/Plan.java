package penstock.kernel.plan;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * The plan of a pipeline as {@code streams/plan.py} writes it. That module defines what each part
 * means; parts that the kernel does not need are ignored.
 */
public record Plan(
    String pipeline,
    Source source,
    List<Source> also,
    List<Column> derived,
    List<Column> filters,
    List<Stage> stages,
    List<Composite> composites,
    List<List<String>> carried,
    String featuresTopic) {

  /** The column that tells of which contract an event is, where a plan has several sources. */
  public static final String EVENT_TYPE = "event__type";

  /** The size of a window that nothing leaves. */
  public static final long LIFETIME_MS = 1L << 62;

  /**
   * Parses a plan.
   *
   * @throws IllegalArgumentException if the text is not a plan
   */
  public static Plan parse(String json) {
    return Json.parse(json, Plan.class, "plan");
  }

  /** Parts that a plan of an earlier release lacks are empty. */
  public Plan {
    also = also == null ? List.of() : also;
    composites = composites == null ? List.of() : composites;
  }

  /** All sources, by the numbers that events carry: the first is the one that the plan is about. */
  public List<Source> sources() {
    List<Source> sources = new ArrayList<>();
    sources.add(source);
    sources.addAll(also);
    return sources;
  }

  /**
   * The columns of a row before any is derived: the fields of all contracts, and the event type.
   */
  public Map<String, ColumnType> contractColumns() {
    Map<String, ColumnType> columns = new LinkedHashMap<>();
    for (Source each : sources()) {
      each.fields().forEach(field -> columns.put(field.name(), field.type()));
    }
    if (!also.isEmpty()) {
      columns.put(EVENT_TYPE, ColumnType.STRING);
    }
    return columns;
  }

  /** The columns of an event that a key column is made of: several, or itself alone. */
  public List<String> keyColumns(String key) {
    return composites.stream()
        .filter(composite -> composite.name().equals(key))
        .findFirst()
        .map(Composite::columns)
        .orElse(List.of(key));
  }

  /**
   * Whether an event can come twice: without an event id of its own it is known by its place in the
   * topic, which no other has.
   */
  public boolean needsDeduplication() {
    return sources().stream().anyMatch(Source::identifiesEvents);
  }

  /** All views in record order. */
  public List<View> views() {
    List<View> views = new ArrayList<>();
    stages.forEach(stage -> views.addAll(stage.views()));
    return views;
  }

  /** Where events come from and what makes one valid. */
  public record Source(
      String topic,
      String deadLetterTopic,
      int partitions,
      String contract,
      int contractVersion,
      List<Field> fields,
      String eventId,
      String eventTime,
      String key,
      long dedupHorizonMs,
      long maxFutureMs,
      int maxBytes,
      Order order,
      long disorderMs,
      long idleAfterMs,
      Boolean triggers,
      String accepts) {

    /** What a plan of an earlier release lacks: its source gives records. */
    public Source {
      triggers = triggers == null || triggers;
    }

    /** Whether events wait for the watermark and are taken by event time. */
    public boolean isOrdered() {
      return order == Order.EVENT_TIME;
    }

    /** Whether an event can come twice, as it has an id of its own. */
    public boolean identifiesEvents() {
      return eventId != null;
    }

    /** The contract's field of that name, or null if it is not one of the contract's. */
    public Field field(String name) {
      return fields.stream().filter(field -> field.name().equals(name)).findFirst().orElse(null);
    }
  }

  /** In which order views take the events of an entity. */
  public enum Order {
    @JsonProperty("arrival")
    ARRIVAL,
    @JsonProperty("event_time")
    EVENT_TIME
  }

  /**
   * One field of the contract and its rules; bounds are inclusive unless the flag says otherwise.
   */
  public record Field(
      String name,
      ColumnType type,
      boolean nullable,
      boolean required,
      @JsonProperty("default") JsonNode fallback,
      BigDecimal minimum,
      boolean minimumExclusive,
      BigDecimal maximum,
      boolean maximumExclusive,
      Integer minLength,
      Integer maxLength,
      String pattern,
      @JsonProperty("enum") List<String> values,
      String pii) {}

  /**
   * A feature that SQL computes of {@code inputs}: {@code view.feature} or {@code event.column}.
   */
  public record Derived(String name, ColumnType type, List<String> inputs) {}

  /** A feature on a record, aggregate or derived. */
  public record Output(String name, FeatureType type) {}

  /** A column computed per row before the kernel sees it. */
  public record Column(String name, ColumnType type) {}

  /** A key column that is made of several columns of an event. */
  public record Composite(String name, List<String> columns) {}

  /** All views of one entity: one keyed stage. */
  public record Stage(String entity, String key, ColumnType keyType, List<View> views) {}

  /**
   * A set of features of one entity: those of its aggregates, then those that SQL derives from them
   * after all windows.
   */
  public record View(
      String name,
      int version,
      String hash,
      List<Feature> features,
      List<Derived> derived,
      long refreshMs) {

    /** A plan without derived features need not say so. */
    public View {
      derived = derived == null ? List.of() : derived;
    }

    /** All that a record holds of the view, in its order. */
    public List<Output> outputs() {
      List<Output> outputs = new ArrayList<>();
      features.forEach(feature -> outputs.add(new Output(feature.name(), feature.type())));
      derived.forEach(
          feature ->
              outputs.add(new Output(feature.name(), new FeatureType(feature.type(), false))));
      return outputs;
    }

    /** Whether its vectors are emitted again as their windows run empty. */
    public boolean refreshes() {
      return refreshMs > 0;
    }

    /** {@code name@version}. */
    public String id() {
      return name + "@" + version;
    }
  }

  /** One aggregate over one window. */
  public record Feature(
      String name,
      Operation operation,
      String column,
      ColumnType columnType,
      String where,
      long windowMs,
      long hopMs,
      FeatureType type,
      Long halfLifeMs,
      Integer k,
      List<Double> buckets,
      Double q,
      Integer bound,
      Long gapMs) {

    /** Whether the other one is over the same values: of the same column, on the same condition. */
    public boolean hasSameInput(Feature other) {
      return Objects.equals(column, other.column) && Objects.equals(where, other.where);
    }
  }

  /** The aggregates of the definition language, by their names there. */
  public enum Operation {
    COUNT,
    RATE,
    SUM,
    MEAN,
    MIN,
    MAX,
    VARIANCE,
    STD,
    ZSCORE,
    SKEWNESS,
    KURTOSIS,
    FIRST,
    LAST,
    CHANGED,
    TIME_SINCE_FIRST,
    TIME_SINCE_LAST,
    TIME_SINCE_PREVIOUS,
    APPROX_DISTINCT,
    DISTINCT,
    QUANTILE,
    FREQUENCY,
    SESSION_COUNT,
    SESSION_LENGTH,
    DECAYED_COUNT,
    DECAYED_SUM,
    DECAYED_MEAN,
    FIRST_K,
    LAST_K,
    TOP_K,
    BOTTOM_K,
    MOST_FREQUENT,
    HISTOGRAM;

    @com.fasterxml.jackson.annotation.JsonCreator
    static Operation of(String name) {
      return valueOf(name.toUpperCase(java.util.Locale.ROOT));
    }
  }
}
