package penstock.kernel.graph;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import org.junit.jupiter.api.Test;

/** Results that do not exist, or do not fit 64 bits, are null. */
class SqlFunctionsTest {
  private static final long MIN = Long.MIN_VALUE;
  private static final long MAX = Long.MAX_VALUE;

  private static Long exact(char operator, Long left, Long right) {
    return new SqlFunctions.Exact(operator).eval(left, right);
  }

  private static Long whole(Double value) {
    return new SqlFunctions.IntegerOrNull().eval(value);
  }

  @Test
  void resultsThatFitAreExact() {
    assertEquals(MAX, exact('+', MAX - 1, 1L));
    assertEquals(MIN, exact('-', MIN + 1, 1L));
    assertEquals(MIN, exact('*', MIN / 2, 2L));
    assertEquals(-3, exact('/', -7L, 2L), "towards zero");
    assertEquals(-1, exact('%', -7L, 2L), "with the sign of the dividend");
  }

  @Test
  void anOverflowIsNull() {
    assertNull(exact('+', MAX, 1L));
    assertNull(exact('+', MIN, -1L));
    assertNull(exact('-', MIN, 1L));
    assertNull(exact('*', MAX, 2L));
    assertNull(exact('*', MIN, -1L));
    assertNull(exact('/', MIN, -1L));
    assertNull(new SqlFunctions.MagnitudeOrNull().eval(MIN));
  }

  @Test
  void aDivisionByZeroIsNull() {
    assertNull(exact('/', 1L, 0L));
    assertNull(exact('%', 1L, 0L));
  }

  @Test
  void nullInIsNullOut() {
    for (char operator : "+-*/%".toCharArray()) {
      assertNull(exact(operator, null, 1L));
      assertNull(exact(operator, 1L, null));
    }
    assertNull(whole(null));
    assertNull(new SqlFunctions.FiniteOrNull().eval(null));
    assertNull(new SqlFunctions.MagnitudeOrNull().eval(null));
  }

  @Test
  void aDoubleIsTruncatedToAnIntegerUnlessItDoesNotFit() {
    assertEquals(-2, whole(-2.9));
    assertEquals(MIN, whole(-0x1p63));
    assertEquals(0x7ffffffffffffc00L, whole(Math.nextDown(0x1p63)));
    assertNull(whole(0x1p63));
    assertNull(whole(Math.nextDown(-0x1p63)));
    assertNull(whole(Double.NaN));
    assertNull(whole(Double.NEGATIVE_INFINITY));
  }

  @Test
  void aNumberThatIsNotFiniteIsNull() {
    assertEquals(Double.MAX_VALUE, new SqlFunctions.FiniteOrNull().eval(Double.MAX_VALUE));
    assertNull(new SqlFunctions.FiniteOrNull().eval(Double.NaN));
    assertNull(new SqlFunctions.FiniteOrNull().eval(Double.POSITIVE_INFINITY));
  }
}
