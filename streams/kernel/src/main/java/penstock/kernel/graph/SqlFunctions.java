package penstock.kernel.graph;

import java.util.Map;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Functions in the SQL of {@code streams/definitions/sql}. They give null for a result that does
 * not exist: Flink would wrap around, or raise and so stop the job.
 */
public final class SqlFunctions {
  private static final Map<String, Exact> EXACT =
      Map.of(
          "penstock_plus", new Exact('+'),
          "penstock_minus", new Exact('-'),
          "penstock_times", new Exact('*'),
          "penstock_divide", new Exact('/'),
          "penstock_mod", new Exact('%'));

  private SqlFunctions() {}

  /** Registers the functions. */
  public static void register(StreamTableEnvironment tables) {
    tables.createTemporarySystemFunction("penstock_finite", FiniteOrNull.class);
    tables.createTemporarySystemFunction("penstock_whole", IntegerOrNull.class);
    tables.createTemporarySystemFunction("penstock_abs", MagnitudeOrNull.class);
    EXACT.forEach(tables::createTemporarySystemFunction);
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

  /** The magnitude of an integer, or null for the one whose magnitude does not fit 64 bits. */
  public static final class MagnitudeOrNull extends ScalarFunction {
    private static final long serialVersionUID = 1;

    public Long eval(Long value) {
      return value == null || value == Long.MIN_VALUE ? null : (Long) Math.abs(value);
    }
  }

  /** An operation on integers; null if its result does not exist, or does not fit 64 bits. */
  public static final class Exact extends ScalarFunction {
    private static final long serialVersionUID = 1;

    private final char operator;

    Exact(char operator) {
      this.operator = operator;
    }

    public Long eval(Long left, Long right) {
      if (left == null || right == null) {
        return null;
      }
      try {
        return switch (operator) {
          case '+' -> Math.addExact(left, right);
          case '-' -> Math.subtractExact(left, right);
          case '*' -> Math.multiplyExact(left, right);
          default -> divided(left, right);
        };
      } catch (ArithmeticException overflow) {
        return null;
      }
    }

    private Long divided(long left, long right) {
      if (right == 0 || (left == Long.MIN_VALUE && right == -1)) {
        return null;
      }
      return operator == '/' ? left / right : left % right;
    }
  }
}
