package penstock.kernel.graph;

import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Functions in the SQL of {@code streams/plan/derivation.py}. They give null for a result that does
 * not exist.
 */
public final class SqlFunctions {
  private SqlFunctions() {}

  /** Registers the functions. */
  static void register(StreamTableEnvironment tables) {
    tables.createTemporarySystemFunction("penstock_finite", FiniteOrNull.class);
    tables.createTemporarySystemFunction("penstock_whole", IntegerOrNull.class);
  }

  /** The number, or null if it is NaN or infinite. */
  public static final class FiniteOrNull extends ScalarFunction {
    private static final long serialVersionUID = 1;

    public Double eval(Double value) {
      return value == null || !Double.isFinite(value) ? null : value;
    }
  }

  /** The number truncated to an integer, or null if it does not fit 64 bits. */
  public static final class IntegerOrNull extends ScalarFunction {
    private static final long serialVersionUID = 1;

    private static final double BOUND = 0x1p63;

    public Long eval(Double value) {
      return value == null || !(value >= -BOUND && value < BOUND) ? null : (Long) value.longValue();
    }
  }
}
