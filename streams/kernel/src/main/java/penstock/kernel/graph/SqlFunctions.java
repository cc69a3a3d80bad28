package penstock.kernel.graph;

import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * What the SQL of {@code streams/derivation.py} calls, so that what it cannot compute is null at
 * once.
 */
public final class SqlFunctions {
  private SqlFunctions() {}

  /** Makes them known under their names. */
  static void register(StreamTableEnvironment tables) {
    tables.createTemporarySystemFunction("penstock_finite", FiniteOrNull.class);
    tables.createTemporarySystemFunction("penstock_whole", IntegerOrNull.class);
  }

  /** The number, or null if it is NaN or infinite. */
  public static final class FiniteOrNull extends ScalarFunction {
    private static final long serialVersionUID = 1;

    /** Called by Flink. */
    public Double eval(Double value) {
      return value == null || !Double.isFinite(value) ? null : value;
    }
  }

  /** The number without its fraction, or null if 64 bits do not hold it. */
  public static final class IntegerOrNull extends ScalarFunction {
    private static final long serialVersionUID = 1;

    private static final double BOUND = 0x1p63;

    /** Called by Flink. */
    public Long eval(Double value) {
      return value == null || !(value >= -BOUND && value < BOUND) ? null : (Long) value.longValue();
    }
  }
}
