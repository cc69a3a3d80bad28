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
 * The plan of a pipeline. {@code streams/plan/compiler.py} makes it, {@code streams/plan/model.py}
 * documents its parts; parts that the kernel does not need are ignored.
 */
public record Plan(
    String pipeline,
    Source source,
    List<Source> additionalSources,
    List<Lookup> lookups,
    List<Column> derived,
    List<Column> filters,
    List<Stage> stages,
    List<Composite> composites,
    List<List<String>> passthrough,
    String featuresTopic) {

  /** The column with the name of the event's contract, in a plan with several sources. */
  public static final String EVENT_TYPE = "event__type";

  /** The size of a window that keeps everything. */
  public static final long LIFETIME_MS = 1L << 62;

  /**
   * Parses a plan.
   *
   * @throws IllegalArgumentException if the text is not a plan
   */
  public static Plan parse(String json) {
    return Json.parse(json, Plan.class, "plan");
  }

  /** A plan of an earlier release may lack parts; they are empty. */
  public Plan {
    additionalSources = additionalSources == null ? List.of() : additionalSources;
    lookups = lookups == null ? List.of() : lookups;
    composites = composites == null ? List.of() : composites;
  }

  /** All sources, by number. The first is the main one. */
  public List<Source> sources() {
    List<Source> sources = new ArrayList<>();
    sources.add(source);
    sources.addAll(additionalSources);
    return sources;
  }

  /**
   * The columns before any is derived: the fields of all contracts, the event type, and those of
   * lookups.
   */
  public Map<String, FeatureType> contractColumns() {
    Map<String, FeatureType> columns = new LinkedHashMap<>();
    for (Source each : sources()) {
      each.fields().forEach(field -> columns.put(field.name(), field.type()));
    }
    if (!additionalSources.isEmpty()) {
      columns.put(EVENT_TYPE, FeatureType.of(ColumnType.STRING));
    }
    for (Lookup lookup : lookups) {
      lookup
          .columns()
          .forEach(pair -> columns.put(pair.get(1), lookup.source().field(pair.get(0)).type()));
    }
    return columns;
  }

  /** The event's columns that make up a key column: those of a composite, or the column itself. */
  public List<String> keyColumns(String key) {
    return composites.stream()
        .filter(composite -> composite.name().equals(key))
        .findFirst()
        .map(Composite::columns)
        .orElse(List.of(key));
  }

  /**
   * Whether any source may deliver an event twice. Without an event id, an event is identified by
   * its position in the topic, which is unique.
   */
  public boolean needsDeduplication() {
    return sources().stream().anyMatch(Source::identifiesEvents);
  }

  /** Whether a source gives no records: its events only update windows. */
  public boolean hasUpdates() {
    return sources().stream().anyMatch(source -> !source.triggers());
  }

  /**
   * What the ids of the events of a source begin with, so that those of two contracts differ: {@code
   * streams.definitions.base.id_prefix}.
   */
  public String idPrefix(int number) {
    Source of = sources().get(number);
    boolean isOwn = of.contract().equals(source.contract());
    return of.triggers() && of.identifiesEvents() && !isOwn ? of.contract() + ":" : "";
  }

  /** What the ids of a source's events must not begin with, because those of other sources do. */
  public List<String> reservedIds(int number) {
    Source of = sources().get(number);
    List<String> found = new ArrayList<>();
    for (int i = 0; i < sources().size() && of.triggers() && idPrefix(number).isEmpty(); i++) {
      Source other = sources().get(i);
      String prefix = other.identifiesEvents() ? idPrefix(i) : other.topic() + "/";
      if (other.triggers() && !prefix.isEmpty() && !found.contains(prefix)) {
        found.add(prefix);
      }
    }
    return found;
  }

  /**
   * The number of the source among whose ids duplicates of a source's events are looked for. The
   * topics of one contract whose events are scored share their ids.
   */
  public int idsOf(int number) {
    List<Source> all = sources();
    Source of = all.get(number);
    for (int i = 0; i < number && of.triggers(); i++) {
      if (all.get(i).triggers() && all.get(i).contract().equals(of.contract())) {
        return i;
      }
    }
    return number;
  }

  /**
   * The topics of the lookups, each once. In a replay, number {@code -1 - i} is that of topic i.
   */
  public List<String> referenceTopics() {
    return lookups.stream().map(Lookup::topic).distinct().toList();
  }

  /** All views, in record order. */
  public List<View> views() {
    List<View> views = new ArrayList<>();
    stages.forEach(stage -> views.addAll(stage.views()));
    return views;
  }

  /** A topic of events, and its validation rules. */
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
      String filter,
      Envelope envelope) {

    /** In a plan of an earlier release, the source triggers records. */
    public Source {
      triggers = triggers == null || triggers;
    }

    /** Whether events are sorted by event time before the stages. */
    public boolean isOrdered() {
      return order == Order.EVENT_TIME;
    }

    /** Whether events have an id of their own, so that duplicates can occur. */
    public boolean identifiesEvents() {
      return eventId != null;
    }

    /** The contract's field of that name, or null. */
    public Field field(String name) {
      return fields.stream().filter(field -> field.name().equals(name)).findFirst().orElse(null);
    }
  }

  /**
   * Reference data that is joined to events. {@code on} are the event's columns that equal the
   * fields {@code key}; {@code columns} are pairs of a field and the column that it becomes.
   */
  public record Lookup(
      String name,
      String topic,
      String contract,
      int contractVersion,
      List<Field> fields,
      List<String> on,
      List<String> key,
      List<List<String>> columns,
      int maxRows,
      int maxBytes) {

    /** Its topic as the decoder reads it: without id and time. */
    public Source source() {
      return new Source(
          topic,
          null,
          0,
          contract,
          contractVersion,
          fields,
          null,
          null,
          null,
          0,
          0,
          maxBytes,
          Order.ARRIVAL,
          0,
          0,
          false,
          null,
          null);
    }
  }

  /** What stands around a source's events; {@code operations} are those of a {@code debezium}. */
  public record Envelope(String kind, List<String> operations) {}

  /** The order in which views process the events of an entity. */
  public enum Order {
    @JsonProperty("arrival")
    ARRIVAL,
    @JsonProperty("event_time")
    EVENT_TIME
  }

  /**
   * A field of the contract with its rules. Bounds are inclusive unless the flag says otherwise.
   * {@code at} is the way to the value if it is not the event's field of that name, {@code written}
   * the form of the value there, {@code otherwise} what replaces an unknown text. Of a list, all of
   * these hold for each element, {@code at} is the way to the array and {@code each} the way from an
   * element to its value.
   */
  public record Field(
      String name,
      FeatureType type,
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
      String pii,
      List<String> at,
      String written,
      Integer scale,
      Integer precision,
      String otherwise,
      List<String> each,
      Integer maxElements,
      boolean nullableElements) {

    /** Of a field that is no list, or whose elements are the values themselves, it is empty. */
    public Field {
      each = each == null ? List.of() : each;
    }

    /** The way to the value in the event. */
    public List<String> place() {
      return at == null ? List.of(name) : at;
    }

    /** A text field without rules. */
    public static Field text(String name) {
      return new Field(
          name,
          FeatureType.of(ColumnType.STRING),
          true,
          false,
          null,
          null,
          false,
          null,
          false,
          null,
          null,
          null,
          null,
          null,
          null,
          null,
          null,
          null,
          null,
          null,
          null,
          false);
    }

    /** The same field with its value elsewhere. */
    public Field placedAt(List<String> place) {
      return new Field(
          name,
          type,
          nullable,
          required,
          fallback,
          minimum,
          minimumExclusive,
          maximum,
          maximumExclusive,
          minLength,
          maxLength,
          pattern,
          values,
          pii,
          place,
          written,
          scale,
          precision,
          otherwise,
          each,
          maxElements,
          nullableElements);
    }

    /** The way as text, as refusals name the field. */
    public String path() {
      String path = String.join(".", place());
      return each.isEmpty() ? path : path + "[]." + String.join(".", each);
    }

    /** Whether the event has the column's value in the column's form. */
    public boolean isPlain() {
      return written == null && otherwise == null;
    }
  }

  /**
   * A feature that SQL computes from {@code inputs}, each {@code view.feature} or {@code
   * event.column}.
   */
  public record Derived(String name, ColumnType type, List<String> inputs) {}

  /** A feature in a record, aggregate or derived. */
  public record Output(String name, FeatureType type) {}

  /** A column that is computed per event before the kernel. */
  public record Column(String name, ColumnType type) {}

  /** A key column made of several columns of an event. */
  public record Composite(String name, List<String> columns) {}

  /** All views of one entity: one keyed stage. */
  public record Stage(String entity, String key, ColumnType keyType, List<View> views) {}

  /**
   * A set of features of one entity: the aggregates, then the features that SQL derives from them.
   */
  public record View(
      String name,
      int version,
      String hash,
      List<Feature> features,
      List<Derived> derived,
      long refreshMs) {

    /** A plan may omit derived features. */
    public View {
      derived = derived == null ? List.of() : derived;
    }

    /** All features of the view in a record, in order. */
    public List<Output> outputs() {
      List<Output> outputs = new ArrayList<>();
      features.forEach(feature -> outputs.add(new Output(feature.name(), feature.type())));
      derived.forEach(
          feature ->
              outputs.add(new Output(feature.name(), new FeatureType(feature.type(), false))));
      return outputs;
    }

    /** Whether timers emit the view again as values leave its windows. */
    public boolean refreshes() {
      return refreshMs > 0;
    }

    /** {@code name@version}. */
    public String id() {
      return name + "@" + version;
    }
  }

  /** One aggregate over one window. Each element of a list column counts as a value. */
  public record Feature(
      String name,
      Operation operation,
      String column,
      FeatureType columnType,
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

    /** The type of the values that count; null if rows do. */
    public ColumnType valueType() {
      return columnType == null ? null : columnType.element();
    }

    /** Whether both aggregate the same column on the same condition. */
    public boolean hasSameInput(Feature other) {
      return Objects.equals(column, other.column) && Objects.equals(where, other.where);
    }
  }

  /** The aggregates by their names in the definition language. */
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
